"""What the processes of the hub log: a line for people, or with HOSPINTEL_LOG_FORMAT=json one JSON object an event.

An event says which process it comes from and what it is about: `request`, `task`, `step`, `round`. It names nobody: no
user name, no address of a caller, no query; where a person occurs at all it is by number (docs/monitoring.md).
"""

import io
import json
import logging
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from http import HTTPStatus
from types import TracebackType
from typing import Any

LINE, JSON = "line", "json"
ACCESS, TASKS, OUTPUT = "hospintel.access", "hospintel.task", "hospintel.output"
# What PostgreSQL says of a row that it refuses holds the row's values.
_VALUES = re.compile(r"^\s*(DETAIL|CONTEXT|PARAMETERS):.*$\n?", re.MULTILINE)

_about: ContextVar[Mapping[str, object]] = ContextVar("about", default={})  # noqa: B039 - never changed in place
_process = "command"


def settings_for(form: str, level: str) -> dict[str, Any]:
    """Return Django's LOGGING for a form of the log."""
    own = "INFO" if form == JSON else "WARNING"
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"faults": {"()": "hospintel_site.logs.Faults"}},
        "formatters": {
            LINE: {"format": "%(levelname)s %(name)s: %(message)s"},
            JSON: {"()": "hospintel_site.logs.JsonFormatter"},
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": form, "stream": sys.__stderr__}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            # A line for each 4xx and each wrong Host would let strangers write our log; the audit counts what matters.
            "django.request": {"level": "ERROR", "filters": ["faults"]},
            "django.security.DisallowedHost": {"level": "CRITICAL"},
            ACCESS: {"level": own},
            TASKS: {"level": own},
            OUTPUT: {"level": own},
        },
    }


class Faults(logging.Filter):
    """Of requests that are answered with 5xx, those that are faults: with 503 the hub asks to come again later."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether somebody should look into it."""
        return getattr(record, "status_code", None) != HTTPStatus.SERVICE_UNAVAILABLE


@contextmanager
def about(**ids: object) -> Iterator[None]:
    """Have every event of the block say what it is about."""
    token = _about.set({**_about.get(), **ids})
    try:
        yield
    finally:
        _about.reset(token)


def take_over(process: str) -> None:
    """Have everything that this process says be an event: warnings, uncaught errors, what is printed.

    What is not Python's, such as the last words of a library in C, goes to the same place as it is.
    """
    global _process  # noqa: PLW0603 - one process is one kind
    _process = process
    logging.captureWarnings(capture=True)
    sys.excepthook = _uncaught
    threading.excepthook = lambda raised: _uncaught(raised.exc_type, raised.exc_value, raised.exc_traceback)
    sys.stdout, sys.stderr = Printed(logging.INFO), Printed(logging.WARNING)


class Printed(io.TextIOBase):
    """A stream each of whose lines becomes an event, unless it is one already."""

    def __init__(self, level: int) -> None:
        self._level, self._begun = level, ""
        self._lock = threading.Lock()

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, text: str) -> int:
        """Log the lines that are complete."""
        with self._lock:
            *lines, self._begun = (self._begun + text).split("\n")
        for line in filter(str.strip, lines):
            if is_event(line):
                os.write(2, f"{line}\n".encode())  # of a child of the supervisor
            else:
                logging.getLogger(OUTPUT).log(self._level, "%s", line.strip())
        return len(text)


def is_event(line: str) -> bool:
    """Return whether a line is an event of ours already."""
    return line.startswith('{"time": ') and line.endswith("}")


class JsonFormatter(logging.Formatter):
    """One JSON object a record, on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        event: dict[str, object] = {
            "time": f"{moment}.{int(record.msecs):03}Z",
            "level": record.levelname,
            "process": _process,
            "pid": record.process,
            "logger": record.name,
            "message": _VALUES.sub("", record.getMessage()),
            **_about.get(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0] is not None:
            kind, value, trace = record.exc_info
            event["error"] = kind.__qualname__
            event["trace"] = _VALUES.sub("", "".join(traceback.format_exception(kind, value, trace)))
        return json.dumps(event, default=str)


def _uncaught(kind: type[BaseException], value: BaseException | None, trace: TracebackType | None) -> None:
    if value is None or issubclass(kind, SystemExit):
        return
    logging.getLogger(OUTPUT).critical("Uncaught: %s", kind.__name__, exc_info=(kind, value, trace))
