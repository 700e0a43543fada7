"""What the agent shows: rich progress bars on a terminal, one plain line per event with a timestamp everywhere else."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

LOG_EVERY: Final = 15.0
_NOISY: Final = ("httpx", "httpcore", "h5py", "PIL", "tensorflow", "absl")


class Stage(Protocol):
    """One piece of work with a known size."""

    def __call__(self, done: int, total: int) -> None:
        """Show that `done` of `total` units are finished."""


class Display(Protocol):
    """Shows stages of work."""

    def stage(self, name: str, unit: str) -> AbstractContextManager[Stage]:
        """Show the stage `name`, counted in `unit`, while the block runs."""


class BarDisplay:
    """A progress bar per stage, gone when the stage is over."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def stage(self, name: str, unit: str) -> Iterator[Stage]:
        """Show a bar while the block runs."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(unit))
        with Progress(*columns, TimeRemainingColumn(), console=self._console, transient=True) as bars:
            bar = bars.add_task(name, total=None)

            def show(done: int, total: int) -> None:
                bars.update(bar, completed=done, total=total)

            yield show


class LineDisplay:
    """A log line now and then while a stage takes long."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    @contextmanager
    def stage(self, name: str, unit: str) -> Iterator[Stage]:
        """Log progress at most every LOG_EVERY seconds while the block runs."""
        last = time.monotonic()

        def show(done: int, total: int) -> None:
            nonlocal last
            if time.monotonic() - last >= LOG_EVERY:
                last = time.monotonic()
                self._logger.info("%s: %d of %d %s", name, done, total, unit)

        yield show


class _ConsoleHandler(logging.Handler):
    """Prints records above the progress bars of the same console."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        style = "red" if record.levelno >= logging.ERROR else "yellow" if record.levelno >= logging.WARNING else ""
        self._console.print(Text(self.format(record), style=style), soft_wrap=True)


def set_up(level: str) -> Display:
    """Send the log to stderr, in the form that fits it, and return the display that goes with it."""
    root = logging.getLogger()
    for noisy in _NOISY:
        logging.getLogger(noisy).setLevel(logging.WARNING)
    handler: logging.Handler
    display: Display
    if sys.stderr.isatty():
        console = Console(stderr=True)
        handler = _ConsoleHandler(console)
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        display = BarDisplay(console)
    else:
        handler = logging.StreamHandler()
        formatter = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
        formatter.converter = time.gmtime
        handler.setFormatter(formatter)
        display = LineDisplay(logging.getLogger("client_agent"))
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    return display
