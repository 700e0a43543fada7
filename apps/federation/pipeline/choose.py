"""Whom a round asks: all agents that are online, or a part of them, and some more than are needed."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import F, Max, Q
from django.utils import timezone

from apps.audit.api import record, transaction
from apps.federation.models import Agent, Federation, Round, Run
from apps.federation.states import RoundState, Selection, UpdateState

WORKER = "system:worker"
# Of how many rounds that asked others an agent is told at once.
MOST_TOLD = 10


@dataclass(frozen=True)
class Asked:
    """The ids of the agents that a round asks; `wanted`: with how many updates it closes, None for all of them."""

    agents: tuple[str, ...]
    wanted: int | None = None


def online(federation: Federation) -> list[Agent]:
    """Return the agents that asked for a task within `seen_within` seconds, in the order of their ids."""
    since = timezone.now() - timedelta(seconds=federation.seen_within)
    return list(Agent.objects.active().of(federation.slug).seen_since(since).order_by("pk"))


def awaited(federation: Federation) -> list[Agent]:
    """Return the agents online of whom a round may expect something, in the order of their ids.

    Those of absent hospitals only where the others do not suffice: else no round would open, and nobody could show
    that they are back.
    """
    there = online(federation)
    if not federation.absent_after:
        return there
    absent = set(federation.participations.exclude(absent_since=None).values_list("hospital", flat=True))
    present = [agent for agent in there if agent.hospital_id not in absent]
    return present if len(present) >= federation.min_updates else there


def choose(run: Run, number: int, there: Sequence[Agent]) -> Asked:
    """Choose of the agents that are there whom a round asks; the same again for the same run and number.

    Args:
        run: whose federation's settings hold.
        number: of the round in its run; another attempt asks the same agents, as far as they are there.
        there: at least `min_updates` agents.
    """
    federation = run.federation
    if federation.selection == Selection.ALL:
        return Asked(tuple(str(agent.pk) for agent in there))
    wanted = min(len(there), max(federation.min_updates, math.ceil(federation.selection_fraction * len(there))))
    asked = min(len(there), math.ceil(wanted * (1 + federation.over_select)))
    first = _in_turn(run, number, federation.selection, there)[:asked]
    return Asked(tuple(str(agent.pk) for agent in first), wanted if asked > wanted else None)


def _in_turn(run: Run, number: int, selection: str, there: Sequence[Agent]) -> list[Agent]:
    """Return the agents in the order in which they are asked."""
    if selection == Selection.RANDOM:
        # A place for each agent, whoever else is there: somebody who leaves changes nothing for the others.
        return sorted(there, key=lambda agent: hashlib.sha256(f"{run.pk} {number} {agent.pk}".encode()).digest())
    used = Q(updates__state=UpdateState.CONSUMED, updates__round__run__federation=run.federation_id)
    newest = Agent.objects.filter(pk__in=[agent.pk for agent in there])
    found = newest.annotate(used_at=Max("updates__received_at", filter=used))
    return list(found.order_by(F("used_at").asc(nulls_first=True), "pk"))


def is_asked(agent: Agent, round_: Round) -> bool:
    """Return whether the round takes an update of the agent.

    Where all are asked, so is who comes later. The agent of an absent hospital always is, though nobody waits for it:
    an update is what brings it back.
    """
    if round_.selection == Selection.ALL or str(agent.pk) in round_.expected:
        return True
    federation = round_.run.federation_id
    return agent.hospital.participations.filter(federation=federation).exclude(absent_since=None).exists()


def passed_over(agent: Agent, slug: str, lately: timedelta) -> list[Round]:
    """Return the newest rounds that asked others than this agent, oldest first: those that collect or opened lately."""
    partial = Round.objects.of(slug).exclude(selection=Selection.ALL).select_related("run")
    since = timezone.now() - lately
    newest = partial.filter(Q(opened_at__gte=since) | Q(state=RoundState.COLLECTING)).order_by("-opened_at")
    return [round_ for round_ in reversed(newest[:MOST_TOLD]) if not is_asked(agent, round_)]


def call_up(round_: Round) -> bool:
    """Ask others where those that were chosen are too few to make a version. Returns whether somebody was asked.

    Nobody counts on an agent that has not called since the round opened and is not online, nor on one that has been
    silent for longer than the deadline. Safe to call at any time.
    """
    federation = round_.run.federation
    if round_.selection == Selection.ALL:
        return False
    there = set(round_.updates.live().values_list("agent", flat=True))
    chosen = Agent.objects.active().filter(pk__in=round_.expected).exclude(pk__in=there)
    counted_on = len(there) + sum(_is_at_work(agent, round_, federation) for agent in chosen)
    lacking = federation.min_updates - counted_on
    others = [agent for agent in awaited(federation) if str(agent.pk) not in round_.expected and agent.pk not in there]
    if lacking <= 0 or not others:
        return False
    more = [str(agent.pk) for agent in _in_turn(round_.run, round_.number, round_.selection, others)[:lacking]]
    before = round_.expected
    with transaction():
        collecting = Round.objects.filter(pk=round_.pk, state=RoundState.COLLECTING)
        called = collecting.filter(expected=before).update(expected=[*before, *more])
        if called:
            record("round.call", actor=WORKER, obj=round_, federation=federation.pk, called=len(more))
    return bool(called)


def _is_at_work(agent: Agent, round_: Round, federation: Federation) -> bool:
    if agent.is_online(federation.seen_within):
        return True
    seen: datetime | None = agent.last_seen
    return seen is not None and seen >= round_.opened_at and agent.is_online(federation.deadline)
