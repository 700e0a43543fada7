"""Where each hospital's agent stands: registered, connected, training, returned."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from apps.federation.figures import Hospitals
from apps.federation.models import Agent, Federation, Round, Update
from apps.federation.pipeline.choose import is_asked
from apps.federation.states import AgentState, RoundState, UpdateState
from apps.federation.words import Advice, absence, refusal

ABSENT = "Absent, not waited for"
RUNGS = ("Registered", "Connected", "Training", "Returned")


@dataclass(frozen=True)
class Rung:
    """One step of the ladder: `done`, `now`, `ahead` or `failed`."""

    name: str
    state: str


@dataclass(frozen=True)
class Place:
    """A hospital's agent on the ladder. `said` is the same in words; `advice` says what to do where it went wrong."""

    hospital: str
    agent: Agent | None
    online: bool
    rungs: tuple[Rung, ...]
    said: str
    advice: Advice | None = None


def places(federation: Federation, round_: Round | None, hospitals: Hospitals) -> list[Place]:
    """Return every agent's place in a round, and the hospitals that have no agent yet.

    A revoked agent is shown until its hospital has another.

    A refusal is told to administrators and to the agent's own hospital; for others the agent is still training.
    """
    updates: dict[Any, Update] = {}
    if round_ is not None:
        # What counts is told before what was refused, whichever came last.
        order = sorted(round_.updates.all(), key=lambda row: (row.state != UpdateState.REFUSED, row.received_at))
        updates = {update.agent_id: update for update in order}
    absent = federation.participations.exclude(absent_since=None) if federation.absent_after else ()
    missed = {one.hospital_id: one.missed for one in absent}
    agents = Agent.objects.of(federation.pk).select_related("hospital").order_by("hospital__name", "enrolled_at")
    succeeded = {agent.hospital_id for agent in agents if agent.state == AgentState.ACTIVE}
    found = [
        _place(agent, federation, round_, _visible(updates, agent, hospitals), missed.get(agent.hospital_id, 0))
        for agent in agents
        if agent.state == AgentState.ACTIVE or agent.hospital_id not in succeeded
    ]
    without = federation.participations.filter(hospital__agents__isnull=True).select_related("hospital")
    found += [
        Place(row.hospital.name, None, online=False, rungs=_rungs(0), said="No agent is enrolled yet")
        for row in without
    ]
    return sorted(found, key=lambda place: place.hospital)


def _visible(updates: Mapping[Any, Update], agent: Agent, hospitals: Hospitals) -> Update | None:
    update = updates.get(agent.pk)
    if update is None or update.state != UpdateState.REFUSED:
        return update
    return update if hospitals is None or agent.hospital_id in hospitals else None


def _rungs(done: int, following: str = "ahead") -> tuple[Rung, ...]:
    """Return the ladder with the first `done` rungs behind; the next one is `now`, `failed` or still `ahead`."""
    states = ["done" if place < done else "ahead" for place in range(len(RUNGS))]
    if done < len(RUNGS):
        states[done] = following
    return tuple(Rung(name, state) for name, state in zip(RUNGS, states, strict=True))


def _place(agent: Agent, federation: Federation, round_: Round | None, update: Update | None, missed: int) -> Place:
    online = agent.is_online(federation.seen_within)

    def at(done: int, said: str, advice: Advice | None = None, following: str = "ahead") -> Place:
        rungs = _rungs(done, "failed" if advice and advice.alarm else following)
        return Place(agent.hospital.name, agent, online, rungs, said, advice)

    if agent.state == AgentState.REVOKED:
        return at(0, "Revoked", refusal("agent_revoked"))
    if update is not None and update.state == UpdateState.REFUSED:
        advice = refusal(update.code)
        return at(3, "Refused" if advice.alarm else "Not used", advice)
    if update is not None:
        return at(4, "Returned, not used" if update.is_unused else _RETURNED[UpdateState(update.state)])
    if not online:
        silent = ABSENT if missed else "Offline"
        return at(1, silent if agent.last_seen else "Has not called yet", absence(missed) if missed else None)
    said, following = _without_update(agent, round_)
    return at(2, said, absence(missed) if missed else None, following=following)


def _without_update(agent: Agent, round_: Round | None) -> tuple[str, str]:
    """Return what an agent does that is there and has no update in the round, and its next rung."""
    if round_ is None or round_.state != RoundState.COLLECTING:
        return "Connected, waits for the next round", "ahead"
    if not is_asked(agent, round_):
        return "Not asked in this round", "ahead"
    return ("Training" if str(agent.pk) in round_.expected else "Came late, may still join"), "now"


_RETURNED = {
    UpdateState.RECEIVED: "Returned, being checked",
    UpdateState.ACCEPTED: "Returned and accepted",
    UpdateState.CONSUMED: "In the new version",
}
