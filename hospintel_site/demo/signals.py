"""Ctrl-C at any moment: the demo ends what it started, in order."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(BaseException):
    """The user wants the demo to end. Not an Exception: no handler of failures may swallow it."""


class Signals:
    """Turns SIGINT, SIGTERM and SIGHUP into Stopped, except where something must not be left half done."""

    def __init__(self) -> None:
        self.count = 0
        self._held = False

    def install(self) -> None:
        """Listen from now on."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # What was started with nohup goes on when the terminal closes.
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._on_signal)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside, a signal waits for the end of the block."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self.count:
            raise Stopped

    def only_count(self) -> None:
        """From now on signals are counted and interrupt nothing: the demo is ending already."""
        self._held = True

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
        if not self._held:
            raise Stopped
