"""Which processes of the hub are alive, on whatever machine: each gives a sign of life to the database.

The web process does so from a thread, the tick from its loop, a worker from its event loop: one that hangs, or has lost
its broker, falls silent as one that is dead.
"""

import logging
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

from django.conf import settings
from django.db import DatabaseError, close_old_connections
from django.db.models import Count
from django.db.models.functions import Now

from client_agent import __version__
from hospintel_site.models import Process

logger = logging.getLogger(__name__)
BEAT_SECONDS = 10.0
# Several beats, and a database that is slow.
ALIVE_SECONDS = 45
FORGOTTEN = timedelta(days=1)
VERSION = __version__  # agent and hub are one release


class Beating:
    """The signs of life of this process. Any number of threads may call it."""

    def __init__(self, kind: str) -> None:
        self._kind, self._id = kind, uuid.uuid4()
        self._last: float | None = None

    def beat(self) -> None:
        """Give a sign of life, at most every few seconds; nothing happens where the database does not answer."""
        now = time.monotonic()
        if self._last is not None and now < self._last + BEAT_SECONDS / 2:
            return
        self._last = now
        try:
            if not Process.objects.filter(pk=self._id).update(seen_at=Now()):
                Process.objects.create(pk=self._id, kind=self._kind, version=VERSION)
                Process.objects.filter(seen_at__lt=Now() - FORGOTTEN).delete()
            if settings.ALIVE_FILE:
                settings.ALIVE_FILE.touch()
        except (DatabaseError, OSError) as error:
            logger.warning("The sign of life could not be written: %s", error)

    def leave(self) -> None:
        """Say that this process ends."""
        try:
            Process.objects.filter(pk=self._id).delete()
        except DatabaseError as error:
            logger.warning("The end of this process could not be written: %s", error)


def start_beating(kind: str, *, also: Callable[[], object] = lambda: None) -> Callable[[], None]:
    """Give signs of life from a thread, and call `also` each time. Returns a function that says goodbye."""
    beating, stop = Beating(kind), threading.Event()

    def loop() -> None:
        while True:
            beating.beat()
            also()
            close_old_connections()
            if stop.wait(BEAT_SECONDS):
                return

    thread = threading.Thread(target=loop, name="beating", daemon=True)
    thread.start()

    def finish() -> None:
        stop.set()
        thread.join(timeout=5)
        also()
        beating.leave()
        close_old_connections()

    return finish


def alive() -> Counter[tuple[str, str]]:
    """Return how many processes are alive, by kind and version."""
    seen = Process.objects.filter(seen_at__gte=Now() - timedelta(seconds=ALIVE_SECONDS))
    counted = seen.values_list("kind", "version").annotate(Count("pk"))
    return Counter({(kind, version): count for kind, version, count in counted})
