"""Appending to the audit chain of the embedded database: each transaction is on disk when it returns."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from django.db import connections

from apps.audit.api import record, transaction, verify
from apps.audit.models import AuditHead
from benchmarks.measure import Row, interleaved, show

REPEATS = 20
MANY = 50
WRITERS, APPENDS = 32, 200
LONG = 100_000


def run() -> None:
    def append(entries: int) -> None:
        with transaction():
            for number in range(entries):
                record("bench.entry", actor="system:bench", obj=f"bench:{number}", number=number)

    def one_by_one() -> None:
        for _ in range(MANY):
            append(1)

    cases = [
        (f"{MANY} transactions of 1 entry", one_by_one),
        (f"1 transaction of {MANY} entries", lambda: append(MANY)),
    ]
    show("The audit chain", [Row(row.name, row.seconds, MANY, "entries") for row in interleaved(cases, REPEATS)])
    _writers(append)
    _verification(append)


def _writers(append: Callable[[int], None]) -> None:
    """Many writers at once: each waits for its turn, and for the disk."""

    def write(_: int) -> list[float]:
        seconds = []
        for _ in range(APPENDS):
            began = time.perf_counter()
            append(1)
            seconds.append(time.perf_counter() - began)
        connections.close_all()
        return seconds

    with ThreadPoolExecutor(WRITERS) as pool:
        seconds = sorted(second for own in pool.map(write, range(WRITERS)) for second in own)
    show(f"{WRITERS} writers x {APPENDS} entries, one transaction each", [Row("an entry", seconds)])
    print(f"  95 % within {seconds[int(0.95 * len(seconds))] * 1000:.1f} ms")


def _verification(append: Callable[[int], None]) -> None:
    """A long and honest log: every entry holds."""
    while (count := AuditHead.objects.get().seq) < LONG:
        append(min(1000, LONG - count))
    results = []
    seconds = interleaved([(f"{LONG:,} entries", lambda: results.append(verify()))], 3)
    assert all(result.ok for result in results)
    show("Verifying it", [Row(row.name, row.seconds, LONG, "entries") for row in seconds])
