"""What time does: deadlines, stuck rows, expired codes, forgotten uploads. Any number of ticks may run at once."""

import time
from datetime import timedelta

from django.utils import timezone

from apps.audit.api import flush_denials
from apps.federation.models import Federation, Round, Run, Update
from apps.federation.pipeline import enrol, keys, storage
from apps.federation.pipeline.step import Next
from apps.federation.states import ROUND_ACTIVE, RoundState, RunState, UpdateState

SYSTEM = "system:tick"
STUCK_SECONDS = 15
PART_SECONDS = 24 * 3600


def due() -> list[Next]:
    """Return the steps that are due now. Every one of them is safe to run when it is not."""
    now = timezone.now()
    stuck = now - timedelta(seconds=STUCK_SECONDS)
    steps = [
        Next("inspect", pk)
        for pk in Update.objects.filter(state=UpdateState.RECEIVED, received_at__lte=stuck).values_list("pk", flat=True)
    ]
    for pk, state, closed_at, aggregated_at in Round.objects.active().values_list(
        "pk", "state", "closed_at", "aggregated_at"
    ):
        if state == RoundState.COLLECTING:
            steps.append(Next("close", pk))
        elif state == RoundState.AGGREGATING and closed_at and closed_at <= stuck:
            steps.append(Next("aggregate", pk))
        elif state == RoundState.EVALUATING and aggregated_at and aggregated_at <= now - timedelta(seconds=1):
            steps.append(Next("gate", pk))
    steps += [
        Next("gate", pk)
        for pk in Round.objects.under_evaluation().filter(state=RoundState.PUBLISHED).values_list("pk", flat=True)
    ]
    waiting = Run.objects.filter(state=RunState.RUNNING).exclude(all_rounds__state__in=ROUND_ACTIVE)
    steps += [Next("open", pk) for pk in waiting.values_list("pk", flat=True)]
    return [*steps, *_unwritten_models(), *_unfinished_rounds()]


def _unwritten_models() -> list[Next]:
    current = Federation.objects.exclude(current=None).values_list("current", "current__digest")
    return [Next("write_model", pk, apart=True) for pk, digest in current if not storage.model_path(digest).exists()]


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
    """Expire codes, write the counted denials, remove uploads that were never finished."""
    enrol.expire_codes(actor=SYSTEM)
    flush_denials()
    limit = time.time() - PART_SECONDS
    for path in storage.forgotten_uploads(limit):
        path.unlink(missing_ok=True)
    # A web process that died just before the row was there left its ciphertext.
    sealed = storage.forgotten_sealed(limit)
    for pk in set(sealed) - set(Update.objects.live().filter(pk__in=sealed).values_list("pk", flat=True)):
        sealed[pk].unlink(missing_ok=True)
