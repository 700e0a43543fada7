"""How large the parts of an upload are: what the line carries in some seconds, so that a break costs no more."""

from typing import Final

from client_agent.http import ANSWER_TIMEOUT

FIRST: Final = 64 * 1024
LEAST: Final = 8 * 1024
# What the hub takes at most.
MOST: Final = 4 * 1024 * 1024
AIM_SECONDS: Final = 10.0
GROWTH: Final = 4
# Bytes a second: the slowest line that the hub still waits for (its limits.py).
SLOWEST: Final = 800


class PartSize:
    """The size of the next part in bytes; it follows the line, from one upload to the next."""

    def __init__(self) -> None:
        self.size = FIRST

    @property
    def timeout(self) -> float:
        """The longest silence in seconds: where the system has taken a whole part, nothing is heard until it is out."""
        return ANSWER_TIMEOUT + min(self.size, FIRST) / SLOWEST

    def sent(self, count: int, seconds: float) -> None:
        """Learn that a part of `count` bytes took `seconds`."""
        fitting = count * AIM_SECONDS / max(seconds, 0.001)
        if seconds > AIM_SECONDS:
            self._set(fitting)
        elif count >= self.size:
            # A shorter one, the last, says little: most of its time is that of any request.
            self._set(min(fitting, self.size * GROWTH))

    def broke(self) -> None:
        """Learn that the line broke in the midst of a part: all of it must be sent again."""
        self._set(self.size / GROWTH)

    def _set(self, size: float) -> None:
        self.size = round(min(MOST, max(LEAST, size)))
