"""A living part that all readers with the same rights may share for a moment.

Each open page asks for its living part after every event: two hundred readers would have the hub render the same two
hundred times. What is kept here is kept in this process alone, for a second, and for one state of the audit: whoever
asks after an event gets what came of it.
"""

import threading
from collections.abc import Callable, Hashable
from time import monotonic

SECONDS = 1.0
# More kinds of reader than this in a second are not worth keeping.
MOST = 64


class SharedPart:
    """Keeps what was rendered; who asks while it is being rendered waits for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[Hashable, tuple[float, str]] = {}
        self._making: dict[Hashable, threading.Lock] = {}

    def get(self, key: Hashable, make: Callable[[], str]) -> str:
        """Return what is kept under the key, or make it. `key` holds everything on which what is made depends."""
        with self._lock:
            making = self._making.setdefault(key, threading.Lock())
        with making:
            try:
                found, now = self._kept.get(key), monotonic()
                if found is not None and found[0] > now:
                    return found[1]
                made = make()
                self._keep(key, made)
                return made
            finally:
                with self._lock:
                    self._making.pop(key, None)

    def _keep(self, key: Hashable, made: str) -> None:
        now = monotonic()
        with self._lock:
            self._kept = {key: kept for key, kept in self._kept.items() if kept[0] > now}
            if len(self._kept) < MOST:
                self._kept[key] = now + SECONDS, made

    def forget(self) -> None:
        """Forget everything."""
        with self._lock:
            self._kept.clear()


parts = SharedPart()
