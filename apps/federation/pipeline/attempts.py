"""A step over which a process dies three times is begun no fourth time: it is parked until an administrator says so.

Celery hands a task whose process died to the next process, without any bound: one task that needs more memory than
there is would kill them all. So the tries are counted here, in the database. The same row keeps two workers from doing
one step at once, and tells the tick at once where the process that has it is gone.
"""

import logging
import os
import platform
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache, partial
from pathlib import Path
from typing import TypeVar
from uuid import UUID, uuid4

from django.db import DatabaseError, IntegrityError, InterfaceError, connection
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from apps.audit.api import Conflict, record, transaction
from apps.federation.models import Attempt
from apps.federation.pipeline.beat import Beat
from apps.federation.pipeline.objects import StorageAwayError
from apps.federation.pipeline.step import Next, Refusal
from hospintel_site import database
from hospintel_site.errors import STORAGE_AWAY

logger = logging.getLogger(__name__)
Returned = TypeVar("Returned")
WORKER = "system:worker"
MOST_TRIES = 3
# Loading TensorFlow may hold a process up. Where it is gone on this machine, nobody waits for that.
BEAT_SECONDS, STALE_SECONDS = 5.0, 30
# After an error the next try waits 15 s, the one after it a minute.
PAUSE_SECONDS, PAUSE_GROWTH = 15, 4
# After these the next try comes soon: they count as none, and may be over in a moment.
AWAY, AWAY_SECONDS = frozenset({STORAGE_AWAY, database.AWAY}), 5
# A promised step that nobody has begun after this lost its task; what was queued is queued again after that.
LOST_SECONDS, QUEUED_SECONDS = 5, 15
# A line to the database that broke may be whole a moment later: a step is done again after these, on the spot.
AGAIN_SECONDS = (0.2, 1.0)
# How a try ended is noted again after these, where the database is away.
NOTE_SECONDS = (0.5, 2.0, 5.0)
FORGOTTEN = timedelta(days=1)


@dataclass(frozen=True)
class Kind:
    """A step whose tries are counted.

    `about` is the audit's word for its object; `needed` says whether the object still needs the step; where `give_up`
    is given, the object is ended by it instead of being parked.
    """

    about: str
    needed: Callable[[UUID], bool]
    give_up: Callable[[UUID], None] | None = None


# `counted.py` and the apps above fill it.
KINDS: dict[str, Kind] = {}


def attempt(step: str, pk: UUID, do: Callable[[UUID], list[Next] | None]) -> list[Next]:
    """Do a step, unless another process has it, it failed a moment ago, or it is parked.

    Returns:
        What follows from it; nothing where it was not done.
    """
    if step not in KINDS:
        return do(pk) or []
    mine = _begin(step, pk)
    if mine is None:
        return []
    with Beat(str(mine), BEAT_SECONDS, partial(_sign_of_life, mine)):
        try:
            following = _while_away(partial(do, pk), AGAIN_SECONDS)
        except StorageAwayError:
            _noted(partial(_postponed, mine, STORAGE_AWAY))
            raise
        except Exception as error:
            # What broke is not used to note it.
            connection.close_if_unusable_or_obsolete()
            if database.is_away(error):
                _noted(partial(_postponed, mine, database.AWAY))
                raise
            _noted(partial(_failed, mine, str(getattr(error, "code", "") or type(error).__name__)))
            raise
    with transaction():
        _held_by(mine).delete()
    return following or []


def promise(step: str, objects: Iterable[UUID]) -> None:
    """Have a step done on each object, also if its task is lost: for what no state of the object tells.

    Stands in the transaction that makes the step needed. Whoever is doing the step at that moment loses its hold on it.
    """
    rows = [Attempt(step=step, object_id=pk, **_fresh()) for pk in objects]
    Attempt.objects.bulk_create(
        rows, update_conflicts=True, unique_fields=["step", "object_id"], update_fields=list(_fresh())
    )


def _fresh() -> dict[str, object]:
    unheld = {"tries": 0, "claim": None, "holder": "", "fault": ""}
    return {**unheld, "seen_at": timezone.now(), "queued_at": None, "parked_at": None}


def _is_promised(row: Attempt) -> bool:
    """Return whether nobody has begun the step yet: an error, or what was away, leaves its name."""
    return row.tries == 0 and row.claim is None and not row.fault


def _held_by(mine: Attempt) -> QuerySet[Attempt]:
    return Attempt.objects.filter(pk=mine.pk, claim=mine.claim)


def _begin(step: str, pk: UUID) -> Attempt | None:
    now = timezone.now()
    fresh = {"claim": uuid4(), "holder": _me(), "seen_at": now}
    row = Attempt.objects.filter(step=step, object_id=pk).first()
    try:
        with transaction():
            if row is None:
                return Attempt.objects.create(step=step, object_id=pk, tries=1, **fresh)
            if not _is_free(row, now):
                return None
            if row.tries < MOST_TRIES:
                unchanged = Attempt.objects.filter(pk=row.pk, claim=row.claim, tries=row.tries, parked_at=None)
                if not unchanged.update(tries=F("tries") + 1, fault="", **fresh):
                    return None
                return Attempt.objects.get(pk=row.pk)
    except IntegrityError:
        # Another process began it in this moment.
        return None
    _park(row)
    return None


def _is_free(row: Attempt, now: datetime) -> bool:
    """Return whether a process may begin the step: nobody has it, and the last error is a while ago."""
    if row.parked_at is not None:
        return False
    if _is_promised(row):
        return True
    if row.claim is None:
        pause = AWAY_SECONDS if row.fault in AWAY else PAUSE_SECONDS * PAUSE_GROWTH ** max(0, row.tries - 1)
        return now >= row.seen_at + timedelta(seconds=pause)
    return row.seen_at < now - timedelta(seconds=STALE_SECONDS) or _is_gone(row.holder)


def _noted(note: Callable[[], None]) -> None:
    """Note how a try ended. A line may break again, and without the note that would pass for a process that died."""
    _while_away(note, NOTE_SECONDS)


def _while_away(do: Callable[[], Returned], pauses: Collection[float]) -> Returned:
    """Do what may be done twice, and do it again after each of so many seconds while the database is away."""
    for seconds in pauses:
        try:
            return do()
        except (DatabaseError, InterfaceError) as error:
            if not database.is_away(error):
                raise
            connection.close_if_unusable_or_obsolete()
            time.sleep(seconds)
    return do()


def _failed(mine: Attempt, fault: str) -> None:
    """Note an error, and park what has had its tries."""
    with transaction():
        noted = _held_by(mine).update(claim=None, holder="", seen_at=timezone.now(), fault=fault[:60])
    if noted and mine.tries >= MOST_TRIES:
        mine.claim, mine.fault = None, fault[:60]
        _park(mine)


def _postponed(mine: Attempt, fault: str) -> None:
    """Note that storage or database was away: that is no try, however often it is asked again."""
    with transaction():
        # Its task is used up: the next one need not wait as if it lay in the queue.
        later = {"claim": None, "holder": "", "seen_at": timezone.now(), "fault": fault, "queued_at": None}
        _held_by(mine).update(tries=F("tries") - 1, **later)


def _park(row: Attempt) -> None:
    kind = KINDS[row.step]
    try:
        with transaction():
            still = Attempt.objects.filter(pk=row.pk, tries=row.tries, claim=row.claim, parked_at=None)
            if not still.update(parked_at=timezone.now(), claim=None, holder=""):
                raise Conflict("It was begun or parked in this moment.")
            record(
                "step.parked",
                actor=WORKER,
                obj=f"{kind.about}:{row.object_id}",
                outcome="held",
                visibility="admin",
                step=row.step,
                tries=row.tries,
                fault=row.fault,
            )
    except Conflict:
        return
    logger.error("%s is parked: %s", row, row.fault or "its process died each time")
    if kind.give_up is not None:
        kind.give_up(row.object_id)
        Attempt.objects.filter(pk=row.pk).delete()


def retry(row: Attempt, *, actor: str) -> list[Next]:
    """Let a parked step be tried again, three times.

    Raises:
        Refusal: `step_state` (409) where it is not parked any more.
    """
    with transaction():
        if not Attempt.objects.filter(pk=row.pk, parked_at__isnull=False).update(**_fresh()):
            raise Refusal("step_state", "This step is being tried again already.", 409)
        obj = f"{KINDS[row.step].about}:{row.object_id}"
        record("step.retry", actor=actor, obj=obj, visibility="admin", step=row.step)
    return [Next(row.step, row.object_id, apart=True)]  # type: ignore[arg-type]  # a row's step is one of them


def parked() -> list[Attempt]:
    """Return what is parked and still needed, oldest first."""
    rows = Attempt.objects.filter(parked_at__isnull=False).order_by("parked_at")
    return [row for row in rows if row.step in KINDS and KINDS[row.step].needed(row.object_id)]


def begun(step: str) -> list[UUID]:
    """Return the objects on which a step was begun and has not ended well."""
    return list(Attempt.objects.filter(step=step).values_list("object_id", flat=True))


def parked_ids(step: str) -> list[UUID]:
    """Return the objects on which a step is parked."""
    return list(Attempt.objects.filter(step=step, parked_at__isnull=False).values_list("object_id", flat=True))


def due(steps: Collection[str]) -> list[Next]:
    """Return the steps whose process is gone, or whose error is a while ago, each once in a while."""
    now = timezone.now()
    late = Q(queued_at=None) | Q(queued_at__lte=now - timedelta(seconds=QUEUED_SECONDS))
    rows = Attempt.objects.filter(late, parked_at=None, step__in=steps)
    lost = now - timedelta(seconds=LOST_SECONDS)
    free = [row for row in rows if _is_free(row, now) and not (_is_promised(row) and row.seen_at > lost)]
    return [
        Next(row.step, row.object_id, apart=True)  # type: ignore[arg-type]  # a row's step is one of them
        for row in free
        if Attempt.objects.filter(late, pk=row.pk, claim=row.claim).update(queued_at=now)
    ]


def forget() -> None:
    """Forget what nobody needs any more: its object has ended otherwise, or nobody asked again."""
    now = timezone.now()
    for row in Attempt.objects.all():
        kind = KINDS.get(row.step)
        idle = row.parked_at is not None or _is_free(row, now)
        old = row.parked_at is None and row.seen_at < now - FORGOTTEN
        if idle and (old or kind is None or not kind.needed(row.object_id)):
            Attempt.objects.filter(pk=row.pk, claim=row.claim).delete()


def _sign_of_life(mine: Attempt) -> bool:
    with transaction():
        return _held_by(mine).update(seen_at=timezone.now()) == 1


@lru_cache(maxsize=1)
def _here() -> str:
    """Return what is common to the processes that can look whether one of them runs; nothing where that is unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{platform.node()[:60]} {boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _me() -> str:
    pid = os.getpid()
    return f"{_here()} {pid} {_started(pid)}"


def _started(pid: int) -> str:
    """Return when a process began, in the kernel's ticks; nothing where it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    # State and start time are the third and the twenty-second field; what was killed and not yet waited for is gone.
    return "" if fields[0] in "ZX" else fields[19]


def _is_gone(holder: str) -> bool:
    """Return whether a process is known to be gone; of one on another machine nothing is known."""
    here, _, rest = holder.rpartition(" ")[0].rpartition(" ")
    if not here or here != _here() or not rest.isdigit():
        return False
    return _started(int(rest)) != holder.rpartition(" ")[2]
