"""Refused calls of callers that nobody knows: counted in memory, written as one entry each, at most once a minute."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from django.db import close_old_connections
from django.db import transaction as database

from apps.audit.chain import MAX_TEXT, Draft, append

# More addresses than this in a minute are no longer told apart: memory stays flat under a flood.
MAX_KEYS = 1000
PERIOD_SECONDS = 60.0
ELSEWHERE = "elsewhere"


@dataclass
class _Count:
    calls: int
    first_us: int
    last_us: int


_lock = threading.Lock()
_counts: dict[tuple[str, str, str], _Count] = {}


def count_unknown(action: str, code: str, address: str) -> None:
    """Count one refused call of an unknown caller."""
    now_us = time.time_ns() // 1000
    with _lock:
        key = (action, code, address[:MAX_TEXT])
        if key not in _counts and len(_counts) >= MAX_KEYS:
            key = (action, code, ELSEWHERE)
        found = _counts.setdefault(key, _Count(0, now_us, now_us))
        found.calls += 1
        found.last_us = now_us


def flush_denials() -> int:
    """Write what this process has counted, one entry for each action, code and address. Returns how many entries."""
    with _lock:
        counts = dict(_counts)
        _counts.clear()
    if not counts:
        return 0
    drafts = [
        Draft(
            action=action,
            actor="unknown",
            object="",
            objects=(),
            outcome="denied",
            visibility="admin",
            facts={"code": code, "address": address, "calls": c.calls, "first_us": c.first_us, "last_us": c.last_us},
        )
        for (action, code, address), c in sorted(counts.items())
    ]
    with database.atomic():  # noqa: TID251 - entries alone, as in api.deny
        append(drafts)
    return len(drafts)


def start_flusher(period: float = PERIOD_SECONDS, *, on_error: Callable[[Exception], object]) -> Callable[[], None]:
    """Flush from a thread every `period` seconds. Returns a function that stops it and flushes once more."""
    stop = threading.Event()

    def flush() -> None:
        close_old_connections()
        try:
            flush_denials()
        except Exception as error:
            on_error(error)
        finally:
            close_old_connections()

    def loop() -> None:
        while not stop.wait(period):
            flush()

    thread = threading.Thread(target=loop, name="denials", daemon=True)
    thread.start()

    def finish() -> None:
        stop.set()
        thread.join(timeout=5)
        flush()

    return finish
