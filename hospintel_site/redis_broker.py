"""kombu's `redis://` broker with one fault mended: a worker whose acknowledgement is lost goes on taking tasks.

kombu 5.7 tells Redis first that a message is done, and then makes room for the next one. Where the line to Redis breaks
in between, Celery logs it and goes on, and the room is never made: after as many such faults as a worker takes tasks at
a time it takes no more, and nothing ends it. What Redis was not told it hands out again (`visibility_timeout`), and a
task that is done claims nothing.
"""

from typing import Any

from kombu.transport import redis, virtual


class QoS(redis.QoS):
    """What a worker has taken and not yet done."""

    def ack(self, delivery_tag: Any) -> None:
        """Tell Redis that a message is done; whether it hears it or not, there is room for the next one."""
        try:
            super().ack(delivery_tag)
        finally:
            virtual.QoS.ack(self, delivery_tag)

    def reject(self, delivery_tag: Any, requeue: bool = False) -> None:  # noqa: FBT001, FBT002 - kombu's signature
        """Give a message back, or away, likewise."""
        try:
            super().reject(delivery_tag, requeue=requeue)
        finally:
            virtual.QoS.ack(self, delivery_tag)


class Channel(redis.Channel):
    """Counts what it has handed out in the right order."""

    QoS = QoS


class Transport(redis.Transport):
    """The broker of a grown hub."""

    Channel = Channel
