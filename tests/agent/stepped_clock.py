"""A clock that only waiting moves, so that hours pass in no time; passed in where the agent takes a Clock."""

import time
from collections.abc import Callable

from client_agent.clock import Stop, StopRequested


class SteppedClock:
    """Starts at the present. `at` runs something when its time has come."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._start_ms = time.time_ns() // 1_000_000
        self.passed = 0.0
        self.waits: list[float] = []
        self._plans: list[tuple[float, Callable[[], None]]] = []

    def now_ms(self) -> int:
        return self._start_ms + round(self.passed * 1000)

    def monotonic(self) -> float:
        return self.passed

    def wait(self, seconds: float) -> None:
        self._stop.check()
        self.waits.append(seconds)
        self.advance(seconds)
        if self.passed > 48 * 3600:
            raise StopRequested

    def advance(self, seconds: float) -> None:
        self.passed += seconds
        due = [plan for plan in self._plans if plan[0] <= self.passed]
        self._plans = [plan for plan in self._plans if plan[0] > self.passed]
        for _, run in due:
            run()

    def at(self, seconds: float, run: Callable[[], None]) -> None:
        self._plans.append((seconds, run))
