"""Agents are witnesses: each keeps the last checkpoint that it saw and asks whether the audit still says so.

A hub that was restored from an older backup, or whose history was rewritten or cut off, learns it from the first agent
that asks, and tells its administrators.
"""

from dataclasses import dataclass
from datetime import timedelta

from django.utils import timezone

from apps.audit import checkpoints
from apps.audit.api import record, transaction
from apps.audit.feed import as_event
from apps.audit.models import AuditEntry, AuditHead
from apps.federation.models import Agent
from apps.federation.pipeline import keys
from apps.federation.pipeline.step import Refusal
from hospintel_core.checkpoint import Note

CONTRADICTED = "audit.contradicted"
HOLDS, BEHIND, FORKED = "holds", "audit_behind", "audit_forked"
# The page of the audit tells of these; the entries stay.
MOST_TOLD, TOLD_DAYS = 5, 7


@dataclass(frozen=True)
class Contradiction:
    """What a hospital's agent holds that the audit no longer says."""

    hospital: str
    code: str
    seq: int
    entry: int

    @property
    def told(self) -> str:
        """Return what was found and what to do about it."""
        found = "the audit ends before that" if self.code == BEHIND else "another entry stands there"
        return (
            f"It was signed at entry {self.seq}; {found} (entry {self.entry} says so). After a restore from a backup "
            "that is to be expected. Where nobody restored one, somebody has changed the database past the hub: stop "
            "the hub and keep its database as it is."
        )


def compare(agent: Agent, kept: Note) -> str:
    """Say whether the audit still says what an agent's checkpoint says; where not, that is an entry, once.

    Returns:
        HOLDS; BEHIND where the audit ends before the entry that it names; FORKED where another entry stands there.

    Raises:
        Refusal: `checkpoint_unknown` (422), signed by no identity of this hub.
    """
    found = checkpoints.check([kept], keys.identities())
    if found.ok:
        return HOLDS
    if not checkpoints.is_signed(kept, keys.identities()):
        raise Refusal("checkpoint_unknown", "No identity of this hub has signed this checkpoint.", 422)
    end = AuditHead.objects.get(pk=1).seq
    code = BEHIND if kept.seq > end else FORKED
    with transaction():
        if not _is_known(agent, kept):
            record(
                CONTRADICTED,
                actor=agent.actor,
                obj=agent,
                outcome="refused",
                visibility="admin",
                code=code,
                seq=kept.seq,
                entry_hash=kept.entry_hash,
                signed_us=kept.ts_us,
                end=end,
            )
    return code


def _is_known(agent: Agent, kept: Note) -> bool:
    own = AuditEntry.objects.filter(action=CONTRADICTED, actor=agent.actor)
    return any(as_event(entry)["facts"].get("entry_hash") == kept.entry_hash for entry in own)


def contradictions() -> list[Contradiction]:
    """Return what agents held against this audit in the last days, newest first."""
    since_us = int((timezone.now() - timedelta(days=TOLD_DAYS)).timestamp() * 1e6)
    entries = AuditEntry.objects.filter(action=CONTRADICTED, ts_us__gte=since_us).order_by("-seq")[:MOST_TOLD]
    events = [as_event(entry) for entry in entries]
    ids = [event["actor"].partition(":")[2] for event in events]
    hospitals = {
        agent.actor: agent.hospital.name for agent in Agent.objects.filter(pk__in=ids).select_related("hospital")
    }
    return [
        Contradiction(hospitals[event["actor"]], event["facts"]["code"], event["facts"]["seq"], event["seq"])
        for event in events
    ]
