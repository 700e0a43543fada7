"""Who was in a round, written when it closes; and which hospitals no round waits for any more."""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from django.db.models import Max, Q
from django.utils import timezone

from apps.audit.api import record, transaction
from apps.federation.models import Agent, Attendance, Evaluation, Participation, Round, Update
from apps.federation.pipeline.choose import is_asked
from apps.federation.states import AgentState, Presence, UpdateState
from hospintel_core.aggregate import shares

WORKER = "system:worker"
REVOKED = "agent_revoked"
# Of these it was not asked, or not waited for: they say nothing about whether a hospital is there.
_NOT_MISSED = frozenset({Presence.NOT_SELECTED, Presence.NOT_NEEDED})


def attend(round_: Round) -> None:
    """Write who is in a round that has just closed, and who is not, inside the transaction that closes it.

    A round that failed without a quorum has no version: nobody has a share. Hospitals that were missing are counted.
    """
    federation = round_.run.federation
    updates = _updates(round_)
    concerned = Q(state=AgentState.ACTIVE) | Q(pk__in=[*round_.expected, *updates])
    agents = list(Agent.objects.of(federation.pk).filter(concerned).order_by("pk"))
    classes = _classes(round_)
    full = round_.is_full
    rows = [_row(round_, agent, updates.get(agent.pk), classes, full=full) for agent in agents]
    inside = [row for row in rows if row.presence == Presence.IN]
    if round_.is_active:
        parts = shares(federation.rule, [row.samples or 0 for row in inside])
        for row, share in zip(inside, parts, strict=True):
            row.share = share
    Attendance.objects.bulk_create(rows)
    _count_missed(round_, rows)


def _updates(round_: Round) -> dict[UUID, Update]:
    """Return what each agent sent that counts, or the last that was refused."""
    order = sorted(round_.updates.all(), key=lambda one: (one.state != UpdateState.REFUSED, one.received_at))
    return {update.agent_id: update for update in order}


def _classes(round_: Round) -> dict[UUID, list[int]]:
    """Return how many scans of each class every agent's newest report counted."""
    reports = Evaluation.objects.filter(round__run__federation=round_.run.federation_id)
    newest = reports.values("agent").annotate(newest=Max("pk")).values("newest")
    found = Evaluation.objects.filter(pk__in=newest).values_list("agent", "confusion")
    return {agent: [sum(row) for row in confusion] for agent, confusion in found}


def _row(
    round_: Round, agent: Agent, update: Update | None, classes: Mapping[UUID, list[int]], *, full: bool
) -> Attendance:
    presence, code = _presence(round_, agent, update, full=full)
    return Attendance(
        round=round_,
        agent=agent,
        presence=presence,
        code=code,
        waited_for=str(agent.pk) in round_.expected,
        samples=update.num_samples if update is not None and presence == Presence.IN else None,
        classes=classes.get(agent.pk, []),
    )


def _presence(round_: Round, agent: Agent, update: Update | None, *, full: bool) -> tuple[Presence, str]:
    """Return what became of an agent, and the code where it was refused."""
    if update is not None and update.state == UpdateState.ACCEPTED:
        return Presence.IN, ""
    # One that came in this very moment is neither: its agent is late.
    if update is not None and update.state == UpdateState.REFUSED:
        return Presence.REFUSED, update.code
    if agent.state == AgentState.REVOKED:
        return Presence.REFUSED, REVOKED
    if agent.last_seen is None or agent.last_seen < round_.opened_at:
        return Presence.ABSENT, ""
    if not is_asked(agent, round_):
        return Presence.NOT_SELECTED, ""
    return (Presence.NOT_NEEDED if full else Presence.LATE), ""


def _count_missed(round_: Round, rows: Iterable[Attendance]) -> None:
    """Count the rounds in a row that closed without a hospital; take it for absent, or for back."""
    by_hospital: dict[UUID, list[Attendance]] = {}
    for row in rows:
        by_hospital.setdefault(row.agent.hospital_id, []).append(row)
    federation = round_.run.federation
    for place in federation.participations.filter(hospital__in=by_hospital).select_related("hospital"):
        own = by_hospital[place.hospital_id]
        if any(row.presence == Presence.IN for row in own):
            _save(place, missed=0, actor=WORKER)
        elif all(_is_missing(row) for row in own):
            _save(place, missed=place.missed + 1, actor=WORKER, round_=round_)


def _is_missing(row: Attendance) -> bool:
    if row.presence in _NOT_MISSED or row.agent.last_seen is None:
        return False
    return row.presence == Presence.ABSENT or row.waited_for


def _save(place: Participation, *, missed: int, actor: str, round_: Round | None = None) -> None:
    """Write a hospital's missed rounds and what follows from them, in the caller's transaction."""
    after = place.federation.absent_after
    absent = bool(after) and missed >= after
    was = place.absent_since is not None
    since = (place.absent_since or timezone.now()) if absent else None
    if place.missed == missed and absent == was:
        return
    row = Participation.objects.filter(pk=place.pk, absent_since=place.absent_since)
    if not row.update(missed=missed, absent_since=since) or absent == was:
        return
    record(
        "hospital.absent" if absent else "hospital.back",
        actor=actor,
        obj=place.hospital,
        objects=[round_] if round_ is not None else [],
        federation=place.federation_id,
        missed=missed if absent else place.missed,
    )


def come_back(agent: Agent, federation_slug: str) -> None:
    """Expect an absent hospital again, from the next round on, because its agent asks for work.

    One that called all the time, and whose updates did not come, is not taken for back by that: an accepted update
    brings it back. It is absent again after one more missed round, until one of its updates is accepted.
    """
    absent = Participation.objects.filter(federation=federation_slug, hospital=agent.hospital_id)
    place = absent.exclude(absent_since=None).select_related("federation", "hospital").first()
    if place is None:
        return
    last = Attendance.objects.filter(agent=agent, round__run__federation=federation_slug).order_by("-pk").first()
    if last is not None and last.presence != Presence.ABSENT:
        return
    with transaction():
        _save(place, missed=max(0, place.federation.absent_after - 1), actor=agent.actor)


def facts_of(round_: Round) -> dict[str, Any]:
    """Return who is in a version that came of a round and how many are not, as the audit tells everyone.

    Whose update was refused is its hospital's own: such agents count as late. Rounds of older hubs tell nothing.
    """
    rows = list(round_.attendance.select_related("agent"))
    if not rows:
        return {}
    inside = [row.agent for row in rows if row.presence == Presence.IN]

    def count(*presences: Presence) -> int:
        return sum(row.presence in presences for row in rows)

    return {
        "objects": [round_, *inside],
        "agents": len(inside),
        "hospitals": len({agent.hospital_id for agent in inside}),
        "waited_for": sum(row.waited_for for row in rows),
        "late": count(Presence.LATE, Presence.REFUSED),
        "absent": count(Presence.ABSENT),
        "not_selected": count(Presence.NOT_SELECTED),
        "not_needed": count(Presence.NOT_NEEDED),
    }
