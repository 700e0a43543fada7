"""Refused calls, counted in memory and written at most once a minute: nobody can fill the audit by being refused.

Callers that nobody knows are only counted. Of a known caller the first refusal is written at once (api.deny), and those
like it are counted here. Every process that answers calls flushes: `start_flusher`, or tick's housekeeping.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from django.db import close_old_connections

from apps.audit.chain import MAX_TEXT, Draft, append
from apps.audit.turns import writing

# More kinds than this in a minute are no longer told apart: memory stays flat under a flood.
MAX_KEYS = 1000
PERIOD_SECONDS = 60.0
ELSEWHERE = "elsewhere"
_MANY = "calls.refused", "various"


@dataclass
class _Count:
    draft: Draft
    calls: int
    first_us: int
    last_us: int


_lock = threading.Lock()
_strangers: dict[tuple[str, str, str], _Count] = {}
_known: dict[tuple[str, str, str], _Count] = {}


def count_unknown(action: str, code: str, address: str) -> None:
    """Count one refused call of an unknown caller."""
    with _lock:
        key = action, code, address[:MAX_TEXT]
        if key not in _strangers and len(_strangers) >= MAX_KEYS:
            key = *_MANY, ELSEWHERE
        if key not in _strangers:
            action, code, address = key
            _strangers[key] = _nothing_yet(_refusal(action, "unknown", "admin", {"code": code, "address": address}))
        _add(_strangers[key])


def count_known(draft: Draft) -> bool:
    """Count one refused call of a known caller. Returns whether it is the first of its kind since the last flush.

    A kind is actor, action and code. The first is for the caller to write; the others are written by flush_denials().
    """
    with _lock:
        key = draft.actor, draft.action, str(draft.facts.get("code", ""))
        found = _known.get(key)
        if found is None and len(_known) < MAX_KEYS:
            _known[key] = _nothing_yet(draft)
            return True
        if found is None:
            many = _refusal(_MANY[0], draft.actor, draft.visibility, {"code": _MANY[1]})
            found = _known.setdefault((draft.actor, *_MANY), _nothing_yet(many))
        elif found.draft.facts.get("address") != draft.facts.get("address"):
            found.draft = replace(found.draft, facts={**found.draft.facts, "address": ELSEWHERE})
        _add(found)
        return False


def flush_denials() -> int:
    """Write what this process has counted, one entry for each kind. Returns how many entries."""
    with _lock:
        counts = [count for _, count in sorted(_strangers.items())] + [
            count for count in _known.values() if count.calls
        ]
        _strangers.clear()
        _known.clear()
    if not counts:
        return 0
    drafts = [
        replace(c.draft, facts={**c.draft.facts, "calls": c.calls, "first_us": c.first_us, "last_us": c.last_us})
        for c in counts
    ]
    with writing():
        append(drafts)
    return len(drafts)


def forget_denials() -> None:
    """Drop what is counted, unwritten."""
    with _lock:
        _strangers.clear()
        _known.clear()


def _refusal(action: str, actor: str, visibility: str, facts: dict[str, str]) -> Draft:
    return Draft(
        action=action, actor=actor, object="", objects=(), outcome="denied", visibility=visibility, facts={**facts}
    )


def _nothing_yet(draft: Draft) -> _Count:
    now_us = time.time_ns() // 1000
    return _Count(draft, 0, now_us, now_us)


def _add(count: _Count) -> None:
    now_us = time.time_ns() // 1000
    count.first_us = count.first_us if count.calls else now_us
    count.calls += 1
    count.last_us = now_us


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
