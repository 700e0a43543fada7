"""How a round ends: failure, and what retention deletes once it has ended."""

from uuid import UUID

from django.utils import timezone

from apps.audit.api import Conflict, advance, record, transaction
from apps.federation.models import Round, Update
from apps.federation.pipeline import keys, storage
from apps.federation.pipeline.step import Next
from apps.federation.states import RoundState, RunState, UpdateState


def fail_round(round_: Round, reason: str, *, actor: str) -> list[Next]:
    """End a round as FAILED(reason). Returns what comes next: retention, and another attempt of a running run."""
    try:
        with transaction():
            mark_failed(round_, reason, actor=actor)
    except Conflict:
        return []
    return after_end(round_)


def mark_failed(round_: Round, reason: str, *, actor: str) -> None:
    """Write FAILED(reason) inside the caller's transaction."""
    now = timezone.now()
    advance(
        round_,
        RoundState.FAILED,
        actor=actor,
        changes={"reason": reason, "ended_at": now, "evaluation_closed_at": now},
        reason=reason,
    )


def after_end(round_: Round) -> list[Next]:
    """Return the steps that follow the end of a round."""
    following = [Next("open", round_.run_id)] if round_.run.state == RunState.RUNNING else []
    return [*following, Next("finish", round_.pk)]


def finish(round_id: UUID) -> list[Next]:
    """Delete the ciphertext of an ended round and erase its key; what was received too late is refused.

    Safe to run twice; nothing happens while the round is active.
    """
    round_ = Round.objects.get(pk=round_id)
    if round_.is_active:
        return []
    for update in Update.objects.filter(round=round_, state=UpdateState.RECEIVED):
        refuse(update, "round_closed", actor="system:finish")
    had_key = keys.has_round_key(round_id)
    keys.erase_round_key(round_id)
    for update in Update.objects.filter(round=round_).only("pk"):
        storage.discard_sealed(update.pk)
    storage.remove_parts(round_id)
    if had_key:
        with transaction():
            record("round.erase", actor="system:finish", obj=round_)
    return []


def refuse(update: Update, code: str, *, actor: str) -> None:
    """Refuse a received update; nothing happens where another worker decided first."""
    try:
        with transaction():
            advance(
                update,
                UpdateState.REFUSED,
                actor=actor,
                changes={"code": code, "decided_at": timezone.now()},
                outcome="refused",
                code=code,
                visibility=update.agent.hospital.visibility,
            )
    except Conflict:
        return
    storage.discard_sealed(update.pk)
