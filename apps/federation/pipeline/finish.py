"""How a round ends: failure, and what retention deletes once it has ended."""

from uuid import UUID

from django.utils import timezone

from apps.audit.api import Conflict, advance, record, transaction
from apps.federation.models import Evaluation, ModelVersion, Round, Run, Update
from apps.federation.pipeline import checkpoint, keys, parts, storage
from apps.federation.pipeline.attend import attend
from apps.federation.pipeline.step import Next
from apps.federation.states import RoundState, RunState, UpdateState, VersionState
from hospintel_core.failpoints import reach

# A round that ends for one of these is simply tried again.
QUORUM = "quorum"
NO_FAULT = ("aborted", "superseded", "restored", QUORUM)
MOST_ATTEMPTS = 3


def fail_round(round_: Round, reason: str, *, actor: str) -> list[Next]:
    """End a round as FAILED(reason). Returns what comes next: retention, and another attempt of a running run."""
    try:
        with transaction():
            mark_failed(round_, reason, actor=actor)
    except Conflict:
        return []
    return after_end(round_)


def mark_failed(round_: Round, reason: str, *, actor: str) -> None:
    """Write FAILED(reason) inside the caller's transaction; a candidate of the round is rejected with it.

    A run whose round failed three times for the hub's own reasons pauses for an admin: each attempt costs every
    hospital a training.
    """
    now = timezone.now()
    advance(
        round_,
        RoundState.FAILED,
        actor=actor,
        changes={"reason": reason, "ended_at": now, "evaluation_closed_at": now},
        reason=reason,
    )
    if reason == QUORUM:
        attend(round_)
    for candidate in ModelVersion.objects.filter(round=round_, state=VersionState.CANDIDATE):
        advance(candidate, VersionState.REJECTED, actor=actor, changes={"verdict": f"its round failed: {reason}"})
    attempts = Round.objects.filter(run=round_.run_id, number=round_.number, state=RoundState.FAILED)
    run = Run.objects.get(pk=round_.run_id)
    if run.state == RunState.RUNNING and attempts.exclude(reason__in=NO_FAULT).count() >= MOST_ATTEMPTS:
        advance(run, RunState.PAUSED, actor=actor, reason=reason)


def after_end(round_: Round) -> list[Next]:
    """Return the steps that follow the end of a round."""
    # `open` looks at the run itself: it may have been paused or aborted with the round.
    return [Next("open", round_.run_id), Next("finish", round_.pk)]


def finish(round_id: UUID) -> list[Next]:
    """Delete the ciphertext of an ended round, erase its key, sign the audit; what came too late is refused.

    Safe to run twice; nothing happens while the round is active.
    """
    round_ = Round.objects.get(pk=round_id)
    if round_.is_active:
        return []
    reach("finish.begun")
    for update in Update.objects.filter(round=round_, state=UpdateState.RECEIVED):
        refuse(update, late_code(round_), actor="system:finish")
    for update in Update.objects.filter(round=round_).only("pk"):
        storage.discard_sealed(update.pk)
    parts.forget_round(round_id)
    reach("finish.discarded")
    # The key goes last: as long as its file is there, the tick comes back for what a crash has left.
    if keys.has_round_key(round_id):
        with transaction():
            record("round.erase", actor="system:finish", obj=round_)
        reach("finish.recorded")
        keys.erase_round_key(round_id)
        reach("finish.erased")
        checkpoint.sign()
    return []


def late_code(round_: Round) -> str:
    """Return why an update does not count whose round has ended without it; looks at the round as it is now."""
    round_.refresh_from_db(fields=["state", "reason"])
    if round_.reason == "aborted":
        return "run_aborted"
    return "not_needed" if round_.is_full else "round_closed"


def refuse(update: Update, code: str, *, actor: str) -> None:
    """Refuse a received update; nothing happens where another worker decided first."""
    try:
        with transaction():
            _mark_refused(update, code, actor=actor)
            reach("refuse.before_commit")
    except Conflict:
        return
    reach("refuse.committed")
    storage.discard_sealed(update.pk)


def withdraw(update: Update, code: str, *, actor: str) -> None:
    """Refuse an update, accepted or not, with its report, unless its round has closed: then it counts."""
    try:
        with transaction():
            # Believe the row count: what is being summed must keep its ciphertext.
            if not Round.objects.filter(pk=update.round_id, state=RoundState.COLLECTING).update(queued_at=None):
                raise Conflict("The round has closed.")
            _mark_refused(update, code, actor=actor)
            Evaluation.objects.filter(round=update.round_id, agent=update.agent_id).delete()
    except Conflict:
        return
    storage.discard_sealed(update.pk)


def _mark_refused(update: Update, code: str, *, actor: str) -> None:
    advance(
        update,
        UpdateState.REFUSED,
        actor=actor,
        changes={"code": code, "decided_at": timezone.now()},
        outcome="refused",
        code=code,
        visibility=update.agent.hospital.visibility,
    )
