"""Appending to the audit chain of the embedded database: each transaction is on disk when it returns."""

from apps.audit.api import record, transaction, verify
from benchmarks.measure import Row, interleaved, show

REPEATS = 20
MANY = 50


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
    verified = interleaved([("1000 entries", lambda: verify(1, 1000))], 5)
    show("Verifying it", [Row(row.name, row.seconds, 1000, "entries") for row in verified])
