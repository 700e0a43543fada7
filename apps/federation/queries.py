"""Reads that pages and calls share."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.utils import timezone

from apps.federation.models import Agent, Evaluation, Federation, ModelVersion, Round, Run
from apps.federation.pipeline.evaluate import Measured, measured
from apps.federation.states import RUN_ACTIVE, RoundState, RunState, UpdateState, VersionState


def newest_round(federation: Federation) -> Round | None:
    """Return the round in progress, or the last one."""
    return Round.objects.of(federation.pk).select_related("run__federation").order_by("-opened_at").first()


def status(federation: Federation) -> dict[str, Any]:
    """Return what `GET /status` answers: where the federation stands, and nothing about any one hospital."""
    round_ = newest_round(federation)
    active = round_ is not None and round_.is_active
    since = timezone.now() - timedelta(seconds=federation.seen_within)
    deadline = None
    if active and round_ is not None and round_.first_accepted_at is not None:
        deadline = (round_.first_accepted_at + timedelta(seconds=federation.deadline)).isoformat()
    pending = round_.updates.filter(state__in=[UpdateState.RECEIVED, UpdateState.ACCEPTED]).count() if round_ else 0
    return {
        "round": round_.number if round_ else 0,
        "pending_updates": pending if active else 0,
        "required_updates": federation.min_updates,
        "clients_online": Agent.objects.active().of(federation.pk).seen_since(since).count(),
        "state": round_.state if round_ and active else "IDLE",
        "deadline": deadline,
        "version": federation.current.number if federation.current else None,
        "model": federation.current.digest if federation.current else None,
        "architecture": federation.architecture,
    }


Hospitals = set[UUID] | None
ONE_AGENTS = "one hospital's own"
WORSE = "worse than its parent"


@dataclass(frozen=True)
class VersionRow:
    """A published version and what the agents measured on it, as far as the reader may know: sums, not one's own."""

    version: ModelVersion
    measured: Measured
    updates: int
    verdict: str
    alarm: str


def version_rows(federation: Federation, hospitals: Hospitals, limit: int = 50) -> list[VersionRow]:
    """Return the newest published versions, newest first, for a reader who sees what is these hospitals' own."""
    versions = federation.versions.exclude(number=None).select_related("round", "parent").order_by("-number")[:limit]
    return [_version_row(version, hospitals) for version in versions]


def _version_row(version: ModelVersion, hospitals: Hospitals) -> VersionRow:
    found, verdict = measured(version), version.verdict
    if found.agents == 1 and not _knows(version, hospitals):
        found = Measured(1, 0, None, None)
    judges = version.evaluations.filter(kind=Evaluation.Kind.EVALUATE).count()
    if judges == 1 and not _knows(version, hospitals, kind=Evaluation.Kind.EVALUATE):
        verdict = ONE_AGENTS
    alarm = version.alarm if hospitals is None or not version.alarm else WORSE
    updates = version.round.updates.filter(state=UpdateState.CONSUMED).count() if version.round else 0
    return VersionRow(version, found, updates, verdict, alarm)


def _knows(version: ModelVersion, hospitals: Hospitals, **wanted: str) -> bool:
    """Return whether a report on the version comes from one of these hospitals."""
    return hospitals is None or version.evaluations.filter(agent__hospital__in=hospitals, **wanted).exists()


@dataclass(frozen=True)
class AgentRow:
    """An agent on the dashboard: is it there, and where does it stand in the round?"""

    agent: Agent
    online: bool
    update: str


def agent_rows(federation: Federation, hospitals: Hospitals) -> list[AgentRow]:
    """Return the federation's agents with the state of their update to the newest round; a refusal is a hospital's own.

    `hospitals`: whose own the reader may see; None means all.
    """
    round_ = newest_round(federation)
    states: dict[Any, str] = {}
    if round_ is not None:
        states = dict(round_.updates.order_by("received_at").values_list("agent", "state"))
    agents = Agent.objects.of(federation.pk).select_related("hospital").order_by("hospital__name", "enrolled_at")
    rows = []
    for agent in agents:
        state = states.get(agent.pk, "")
        if state == UpdateState.REFUSED and hospitals is not None and agent.hospital_id not in hospitals:
            state = ""
        rows.append(AgentRow(agent, agent.is_online(federation.seen_within), state))
    return rows


def active_run(federation: Federation) -> Run | None:
    """Return the run in progress, if there is one."""
    return federation.runs.filter(state__in=RUN_ACTIVE).first()


def headline(federation: Federation) -> str:
    """Return the first line of the dashboard: what is going on."""
    run, round_ = active_run(federation), newest_round(federation)
    if run is None:
        if round_ is None:
            return "Nothing has been trained yet. Enrol the hospitals' agents and start a run."
        number = federation.current.number if federation.current else "none"
        return f"No run is active. The current model is version {number}."
    if round_ is None or not round_.is_active:
        if round_ is not None and round_.run_id == run.pk and _evaluating_last(round_):
            return "The agents are evaluating the run's last version."
        if run.state == RunState.PAUSED:
            return _why_paused(run)
        need = federation.min_updates
        return f"The run waits until {need} agents are online; {status(federation)['clients_online']} are."
    names = _missing_names(round_)
    done = round_.updates.filter(state__in=[UpdateState.ACCEPTED, UpdateState.CONSUMED]).count()
    waiting = f", waiting on {', '.join(names)}" if names and round_.state == "COLLECTING" else ""
    doing = {"COLLECTING": "collecting", "AGGREGATING": "aggregating", "EVALUATING": "evaluating"}[round_.state]
    return f"Round {round_.number} of {run.rounds} is {doing}: {done} of {len(round_.expected)} updates{waiting}."


def _evaluating_last(round_: Round) -> bool:
    published = round_.state == RoundState.PUBLISHED
    return published and round_.evaluation_opened_at is not None and round_.evaluation_closed_at is None


def _why_paused(run: Run) -> str:
    held = ModelVersion.objects.filter(round__run=run, state=VersionState.HELD).order_by("-created_at").first()
    if held is None:
        return "The run is paused."
    return f"The run is paused: version {held.digest[:12]} is held until an admin publishes or rejects it."


def _missing_names(round_: Round) -> list[str]:
    accepted = {str(pk) for pk in round_.updates.live().values_list("agent", flat=True)}
    missing = [pk for pk in round_.expected if pk not in accepted]
    return list(
        Agent.objects.filter(pk__in=missing).order_by("hospital__name").values_list("hospital__name", flat=True)
    )
