"""Time, waiting and stopping, as objects that are passed in: tests bring a clock of their own."""

import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final, Protocol

RETRY_AFTER_MAX: Final = 3600.0
# However many tries fall into the first seconds of an outage, the next one is no further away.
SOON: Final = 5.0


class StopRequested(BaseException):
    """SIGTERM or SIGINT asked the agent to end. Not an Exception: no handler for failures may swallow it."""


class Stop:
    """Remembers that somebody asked the agent to end, and breaks into waits but not into work.

    Work asks `check` where it can end cleanly; a second signal ends it at once. That is safe at any instruction, as the
    journal survives even kill -9.
    """

    def __init__(self) -> None:
        self.requested = False
        self._waiting = False

    def install(self) -> None:
        """Handle SIGTERM and SIGINT. Main thread only."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def request(self) -> None:
        """Ask for the end; raises StopRequested at once inside `waiting` or when asked for the second time."""
        again, self.requested = self.requested, True
        if self._waiting or again:
            raise StopRequested

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Inside, a request to stop raises StopRequested wherever the program is: for sleeps and long polls."""
        self._waiting = True
        try:
            self.check()
            yield
        finally:
            self._waiting = False

    def check(self) -> None:
        """Raise StopRequested if the agent was asked to end."""
        if self.requested:
            raise StopRequested

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.request()


class Clock(Protocol):
    """Wall time in milliseconds, monotonic seconds, and waiting."""

    def now_ms(self) -> int:
        """UTC, milliseconds since 1970."""

    def monotonic(self) -> float:
        """Seconds that never run backwards."""

    def wait(self, seconds: float) -> None:
        """Return after `seconds`; raises StopRequested when the agent shall end."""


class SystemClock:
    """The machine's own time."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop

    def now_ms(self) -> int:
        """UTC, milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds that never run backwards."""
        return time.monotonic()

    def wait(self, seconds: float) -> None:
        """Sleep; a request to stop ends the sleep."""
        with self._stop.waiting():
            time.sleep(seconds)


class Backoff:
    """Waits between failed tries: full jitter under a doubling cap, never shorter than the hub's Retry-After.

    After the first seconds no wait is longer than the failures have lasted: what was away for a quarter of a minute is
    not found again a minute later.

    Full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """

    def __init__(self, clock: Clock, *, base: float = 0.5, cap: float = 60.0, rng: random.Random | None = None) -> None:
        self._clock = clock
        self._base = base
        self._cap = cap
        self._rng = rng or random.SystemRandom()
        self.failures = 0
        self._since = 0.0

    def delay(self, retry_after: float | None = None) -> float:
        """The next wait in seconds; counts one more failure."""
        now = self._clock.monotonic()
        if self.failures == 0:
            self._since = now
        ceiling = min(self._cap, self._base * 2.0 ** min(self.failures, 30), max(SOON, now - self._since))
        self.failures += 1
        jittered = self._rng.uniform(0.0, ceiling)
        # Jitter on top of Retry-After as well, or all agents of a federation come back in the same instant.
        return jittered if retry_after is None else min(retry_after, RETRY_AFTER_MAX) + min(jittered, 1.0)

    def wait(self, retry_after: float | None = None) -> None:
        """Wait for the next delay."""
        self._clock.wait(self.delay(retry_after))

    def reset(self) -> None:
        """A try succeeded: the next failure starts small again."""
        self.failures = 0
