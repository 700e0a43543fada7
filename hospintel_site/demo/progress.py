"""What goes on between two rows of the table: nobody sits in front of a silent screen while features are computed."""

import re
import time
from collections.abc import Callable, Mapping

EVERY_SECONDS = 15.0
# What the agents' log writes before the text of a line.
_STAMP = re.compile(r"^\S+Z [A-Z]+ ")
_FRESH = re.compile(r"\d+ of \d+")


class Progress:
    """Says now and then what the hub waits for and how far the agents are."""

    def __init__(self, names: Mapping[str, str], tail: Callable[[str, int], str], say: Callable[[str], None]) -> None:
        """`names` maps the agents' processes to the hospitals, `tail` gives the last lines of a process's log."""
        self._names = names
        self._tail = tail
        self._say = say
        self._last = time.monotonic()
        self._said = ""

    def reset(self) -> None:
        """A row was printed: stay silent for a while."""
        self._last = time.monotonic()

    def look(self, headline: Callable[[], str]) -> None:
        """Print a new headline and each agent's newest count, where nothing was printed for a while."""
        if time.monotonic() - self._last < EVERY_SECONDS:
            return
        self.reset()
        if (now := headline()) != self._said:
            self._said = now
            self._say(f"  {now}")
        lines = {hospital: _STAMP.sub("", self._tail(process, 1)) for process, hospital in self._names.items()}
        counts = "; ".join(f"{hospital}: {line}" for hospital, line in lines.items() if _FRESH.search(line))
        if counts:
            self._say(f"    {counts}")
