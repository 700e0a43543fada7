"""How long requests and tasks take, and how they end: counted in memory, added to the database's sums now and then.

Every process of the hub adds to the same rows, so that whichever web process is asked for the metrics knows the whole
hub (docs/decisions/0015). A process that is killed loses what it has counted since the last time: seconds.
"""

import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping

from django.db import DatabaseError
from django.db.models import F

from apps.audit.turns import writing
from hospintel_site.models import Timing

# Seconds. Long polls of agents take up to 25, training up to hours.
BOUNDS: Mapping[str, tuple[float, ...]] = {
    Timing.What.REQUEST: (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0),
    Timing.What.TASK: (0.1, 0.3, 1.0, 3.0, 10.0, 60.0, 600.0, 3600.0),
}
Key = tuple[str, str, str]
Sums = dict[str, float]

_lock = threading.Lock()
_counted: defaultdict[Key, Sums] = defaultdict(dict)


def note(what: str, name: str, outcome: str, seconds: float, **more: int) -> None:
    """Count one request or task.

    Args:
        what: one of `Timing.What`.
        name: of the address or the task: of a fixed set, nothing that a caller chose.
        outcome: `2xx` and the like, or how the task ended.
        seconds: how long it took.
        more: `bytes_in`, `bytes_out`.

    """
    place = bisect_left(BOUNDS[what], seconds)
    bucket = {Timing.BUCKETS[place]: 1} if place < len(Timing.BUCKETS) else {}
    _add((what, name[:80], outcome), {"count": 1, "seconds": seconds, **more, **bucket})


def flush() -> int:
    """Add what this process has counted to the database's sums; kept for the next time where it does not answer.

    Returns how many rows were added to.
    """
    with _lock:
        # In one order: two processes that took the same rows in two orders would wait for each other.
        taken = sorted(_counted.items())
        _counted.clear()
    try:
        with writing():
            for key, sums in taken:
                _write(key, sums)
    except DatabaseError:
        for key, sums in taken:
            _add(key, sums)
        return 0
    return len(taken)


def _add(key: Key, sums: Mapping[str, float]) -> None:
    with _lock:
        row = _counted[key]
        for field, value in sums.items():
            row[field] = row.get(field, 0) + value


def _write(key: Key, sums: Sums) -> None:
    what, name, outcome = key
    rows = Timing.objects.filter(what=what, name=name, outcome=outcome)
    change = {field: F(field) + value for field, value in sums.items()}
    if not rows.update(**change):
        # Another process may be first: both add to whichever row is there.
        Timing.objects.bulk_create([Timing(what=what, name=name, outcome=outcome)], ignore_conflicts=True)
        rows.update(**change)
