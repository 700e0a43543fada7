"""What time does: deadlines, stuck rows, expired codes, forgotten uploads. Any number of ticks may run at once."""

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet
from django.utils import timezone

from apps.accounts.pipeline import lockout, sessions, tokens
from apps.audit import checkpoints
from apps.audit.api import flush_denials
from apps.federation.models import Federation, Round, Run, Update, ValidationSet
from apps.federation.pipeline import (
    attempts,
    checkpoint,
    counted,
    enrol,
    keys,
    model_files,
    parts,
    storage,
    validation,
)
from apps.federation.pipeline.objects import StorageAwayError
from apps.federation.pipeline.step import Next
from apps.federation.states import ROUND_ACTIVE, RoundState, RunState, UpdateState, ValidationState

logger = logging.getLogger(__name__)
SYSTEM = "system:tick"
# A task that nobody has begun after this was lost, and is queued again; and once more each time after that.
LOST_SECONDS, STUCK_SECONDS = 5, 15
PART_SECONDS = 24 * 3600
# What a process writes before it puts it; longer than any takes for it.
DRAFT_SECONDS = 3600
# What apps above this one have done at every look, and once a minute; they add it when Django starts.
CHORES: list[Callable[[], None]] = []
SWEEPS: list[Callable[[], None]] = []


def due() -> list[Next]:
    """Return the steps that are due now. Every one of them is safe to run when it is not."""
    now = timezone.now()
    stuck = now - timedelta(seconds=LOST_SECONDS)
    received = Update.objects.filter(state=UpdateState.RECEIVED, received_at__lte=stuck)
    aggregating = Round.objects.filter(state=RoundState.AGGREGATING, closed_at__lte=stuck)
    steps = [Next("inspect", pk) for pk in _requeued("inspect", received, now)]
    steps += [Next("aggregate", pk) for pk in _requeued("aggregate", aggregating, now)]
    for pk, state, aggregated_at in Round.objects.active().values_list("pk", "state", "aggregated_at"):
        if state == RoundState.COLLECTING:
            steps.append(Next("close", pk))
        elif state == RoundState.EVALUATING and aggregated_at and aggregated_at <= now - timedelta(seconds=1):
            steps.append(Next("gate", pk))
    steps += [
        Next("gate", pk)
        for pk in Round.objects.under_evaluation().filter(state=RoundState.PUBLISHED).values_list("pk", flat=True)
    ]
    unprepared = ValidationSet.objects.filter(state=ValidationState.PREPARING)
    steps += [Next("prepare_validation", pk, apart=True) for pk in _requeued("prepare_validation", unprepared, now)]
    waiting = Run.objects.filter(state=RunState.RUNNING).exclude(all_rounds__state__in=ROUND_ACTIVE)
    steps += [Next("open", pk) for pk in waiting.values_list("pk", flat=True)]
    # Whatever else was begun and not ended: its process is gone, or it failed a while ago.
    return [*steps, *_unwritten_models(), *_unfinished_rounds(), *attempts.due(counted.OF_FEDERATION)]


def _requeued(step: str, rows: QuerySet[Any], now: datetime) -> list[UUID]:
    """Take the rows that nobody has begun, and that were not queued again lately.

    Under a backlog, each look would make it longer.
    """
    rows = rows.exclude(pk__in=attempts.begun(step))
    rows = rows.filter(Q(queued_at=None) | Q(queued_at__lte=now - timedelta(seconds=STUCK_SECONDS)))
    found = list(rows.values_list("pk", flat=True))
    return [pk for pk in found if rows.filter(pk=pk).update(queued_at=now)]


def _unwritten_models() -> list[Next]:
    current = Federation.objects.exclude(current=None).values_list("current", "current__digest")
    try:
        return [Next("write_model", pk, apart=True) for pk, digest in current if model_files.want(digest)]
    except StorageAwayError:
        # What else is due is not held up by it.
        logger.exception("Whether models are to be written cannot be seen now")
        return []


def _unfinished_rounds() -> list[Next]:
    """Return the ended rounds whose key is still there: the worker died between the end and the retention."""
    ended = {
        str(pk)
        for pk in Round.objects.exclude(state__in=ROUND_ACTIVE)
        .filter(pk__in=keys.kept_round_keys())
        .values_list("pk", flat=True)
    }
    return [Next("finish", pk) for pk in keys.kept_round_keys() if str(pk) in ended]


def housekeeping() -> None:
    """Expire codes, write the counted denials, forget what is over: counts of wrong passwords, unfinished uploads."""
    enrol.expire_codes(actor=SYSTEM)
    flush_denials()
    lockout.forget_old_attempts()
    sessions.forget_old_sessions()
    tokens.forget_old_tokens()
    attempts.forget()
    _erase_orphans()
    validation.tidy()
    limit = time.time() - PART_SECONDS
    parts.forget_old(limit)
    # A web process that died just before the row was there left its ciphertext.
    sealed = storage.forgotten_sealed(limit)
    needed = Update.objects.live().filter(pk__in=sealed, round__state__in=ROUND_ACTIVE)
    for pk in sealed - set(needed.values_list("pk", flat=True)):
        storage.discard_sealed(pk)
    for place in (storage.models(), storage.uploads()):
        place.sweep(time.time() - DRAFT_SECONDS)
    model_files.prune()
    for sweep in SWEEPS:
        sweep()


def sign_checkpoint() -> None:
    """Sign where the audit stands, if it is time. A chain that does not hold is signed by nobody, and said aloud."""
    if checkpoints.is_due():
        checkpoint.sign()


def _erase_orphans() -> None:
    """Erase round keys without a round: the worker died before the row was there."""
    kept = set(keys.kept_round_keys(older_than=time.time() - PART_SECONDS))
    for pk in kept - set(Round.objects.filter(pk__in=kept).values_list("pk", flat=True)):
        keys.erase_round_key(pk)
