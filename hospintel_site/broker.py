"""kombu's `filesystem://` broker with one fault mended: a message appears in the folder whole, or not yet.

kombu 5.7 creates the message's file under its final name and then writes into it. A worker that looks in between
takes an empty file, cannot read it and dies of "Unrecoverable error: JSONDecodeError"; the message is lost.
"""

import os
import uuid
from pathlib import Path
from time import monotonic
from typing import Any

from django.conf import settings
from kombu.exceptions import ChannelError
from kombu.transport import TRANSPORT_ALIASES, filesystem, virtual
from kombu.utils.encoding import str_to_bytes
from kombu.utils.json import dumps

SCHEME = "folder"
LONGEST_WAIT = 0.2
# For looking at the queue from outside: who asks waits for the answer.
LOOK_SECONDS = 2.0
QUEUES = ("default", "training")


class Channel(filesystem.Channel):
    """Puts a message under a hidden name first and renames it when it is complete."""

    # kombu's own classes disagree about the second argument's name.
    def _put(self, queue: str, message: Any, **_: Any) -> None:  # type: ignore[override]
        folder = Path(self.data_folder_out)
        name = f"{round(monotonic() * 1000)}_{uuid.uuid4()}.{queue}.msg"
        hidden = folder / f".{name}.part"  # `_get` takes names that end in ".<queue>.msg" only
        try:
            hidden.write_bytes(str_to_bytes(dumps(message)))
            os.rename(hidden, folder / name)  # noqa: PTH104 - the atomic call by its own name
        except OSError as error:
            hidden.unlink(missing_ok=True)
            raise ChannelError(f"Cannot add {name!r} to the queue folder") from error


class Transport(filesystem.Transport):
    """The `folder://` broker of the embedded mode."""

    Channel = Channel
    # kombu keeps broker state by transport class; without a state of its own it would share the parent's.
    global_state = virtual.BrokerState()

    def drain_events(self, connection: Any, timeout: float | None = None, **_: Any) -> None:
        """Deliver the next message, or raise TimeoutError: Celery asks for 2 s, and looks only then if it shall end."""
        super().drain_events(connection, timeout=timeout and min(timeout, LONGEST_WAIT))


def register() -> None:
    """Make our brokers known to kombu."""
    TRANSPORT_ALIASES[SCHEME] = "hospintel_site.broker:Transport"
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = "hospintel_site.redis_broker:Transport"


def waiting() -> dict[str, int]:
    """Return how many messages lie in each queue. Raises OSError where the broker does not answer."""
    if not settings.REDIS_URL:
        names = os.listdir(settings.CELERY_BROKER_TRANSPORT_OPTIONS["data_folder_in"])  # noqa: PTH208 - raises if gone
        return {queue: sum(name.endswith(f".{queue}.msg") for name in names) for queue in QUEUES}
    import redis  # noqa: PLC0415 - a hub without it, which most processes are of, starts sooner

    with redis.Redis.from_url(
        settings.REDIS_URL, socket_connect_timeout=LOOK_SECONDS, socket_timeout=LOOK_SECONDS
    ) as server:
        try:
            return {queue: int(server.llen(queue)) for queue in QUEUES}
        except redis.RedisError as error:
            raise OSError(str(error)) from error
