"""A worker takes its next task although Redis never heard that the one before is done."""

import logging
import uuid
from typing import Any

import pytest
from django.conf import settings
from fault_proxy import CALM, FaultProxy, Weather
from harness import eventually
from kombu import Connection, Queue
from redis.exceptions import RedisError

from hospintel_site.celery import app
from tools.services import new_queue

pytestmark = pytest.mark.skipif(not settings.REDIS_URL, reason="make test-services runs it")
# Every line is reset at the first byte.
DEAD = Weather(cut=1.0, up=1, down=1)


@pytest.mark.parametrize("how", ["ack", "give back"])
def test_there_is_room_for_the_next_task_when_the_word_on_the_last_one_is_lost(how: str) -> None:
    near = new_queue(settings.REDIS_URL)
    port, _, number = near.rpartition(":")[2].partition("/")
    queue, taken = Queue(uuid.uuid4().hex), []

    def take(_body: Any, message: Any) -> None:
        taken.append(message)

    with FaultProxy(int(port)) as line, Connection(near) as direct:
        far = f"redis://127.0.0.1:{line.port}/{number}"
        with app.connection(far) as connection, connection.channel() as channel:
            assert type(channel).__module__ == "hospintel_site.redis_broker"
            consumer = connection.Consumer(queue, channel=channel, callbacks=[take])
            consumer.qos(prefetch_count=1)
            consumer.consume()
            with direct.Producer() as producer:
                for number_of_task in range(2):
                    producer.publish(number_of_task, routing_key=queue.name, declare=[queue])
            connection.drain_events(timeout=30)
            assert [message.payload for message in taken] == [0]
            assert not channel.qos.can_consume()

            line.become(DEAD)
            errors = connection.connection_errors
            if how == "ack":
                taken[0].ack_log_error(logging.getLogger(), errors)
            else:
                taken[0].reject_log_error(logging.getLogger(), errors, requeue=True)
            line.become(CALM)
            eventually(lambda: drained(connection) or len(taken) > 1, "the next task comes")
            assert taken[1].payload == 1


def drained(connection: Connection) -> None:
    """Look once for a message; the line was cut, so it may take a second time."""
    try:
        connection.drain_events(timeout=1)
    except (TimeoutError, RedisError):
        return
