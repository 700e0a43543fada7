"""Verify the audit because somebody asked on its page: in a worker, and with the result in the audit itself."""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.utils import timezone

from apps.audit import checkpoints
from apps.audit.api import moment, record, transaction
from apps.audit.feed import as_event
from apps.audit.models import AuditEntry
from apps.federation.pipeline import keys
from apps.federation.pipeline.attempts import promise
from apps.federation.pipeline.step import Next, Refusal
from hospintel_core.failpoints import reach

ASKED, HELD, BROKEN = "audit.verify", "audit.verified", "audit.broken"
# A worker that died meanwhile gives no answer: then it may be asked again.
PATIENCE = timedelta(minutes=5)


@dataclass(frozen=True)
class Verification:
    """The newest one: when it was asked for and, where it has ended, what it found."""

    asked_at: datetime
    ended_at: datetime | None = None
    holds: bool = False
    entries: int = 0
    checkpoints: int = 0
    bad_seq: int | None = None
    reason: str = ""

    @property
    def is_under_way(self) -> bool:
        """Return whether an answer is still to be expected."""
        return self.ended_at is None and timezone.now() - self.asked_at < PATIENCE

    @property
    def is_late(self) -> bool:
        """Return whether no answer is to be expected any more."""
        return self.ended_at is None and not self.is_under_way


def ask(*, actor: str) -> list[Next]:
    """Ask for a verification. Raises Refusal where one is under way."""
    newest = latest()
    if newest is not None and newest.is_under_way:
        raise Refusal("verification_under_way", "The audit is being verified. The result appears here.", 409)
    asked = uuid.uuid4()
    with transaction():
        record(ASKED, actor=actor, obj=_name(asked), visibility="admin")
        promise("verify_audit", [asked])
    return [Next("verify_audit", asked)]


def verify_audit(asked: UUID) -> list[Next]:
    """Check the chain and the hub's checkpoints, and record what was found. Safe to run twice."""
    known = set(AuditEntry.objects.filter(object=_name(asked)).values_list("action", flat=True))
    if known != {ASKED}:
        return []
    results = checkpoints.verify_with([], keys.identities())
    chain, signed = results
    bad = min((result for result in results if not result.ok), key=lambda result: result.bad_seq or 0, default=None)
    with transaction():
        record(
            BROKEN if bad else HELD,
            actor="system:verify",
            obj=_name(asked),
            outcome="refused" if bad else "ok",
            visibility="admin",
            entries=chain.checked,
            checkpoints=signed.checked,
            bad_seq=bad.bad_seq if bad else None,
            reason=bad.reason if bad else "",
        )
        reach("verify.before_commit")
    return []


def latest() -> Verification | None:
    """Return the newest verification that was asked for."""
    asked = AuditEntry.objects.filter(action=ASKED).order_by("-seq").first()
    if asked is None:
        return None
    answer = AuditEntry.objects.filter(object=asked.object, action__in=[HELD, BROKEN]).first()
    if answer is None:
        return Verification(moment(asked.ts_us))
    facts = as_event(answer)["facts"]
    if not facts.keys() >= {"entries", "checkpoints", "bad_seq", "reason"}:
        unreadable = "the result that stands there is not of its form"
        return Verification(moment(asked.ts_us), moment(answer.ts_us), bad_seq=answer.seq, reason=unreadable)
    return Verification(
        moment(asked.ts_us),
        moment(answer.ts_us),
        answer.action == HELD,
        facts["entries"],
        facts["checkpoints"],
        facts["bad_seq"],
        facts["reason"],
    )


def _name(asked: UUID) -> str:
    return f"verification:{asked}"
