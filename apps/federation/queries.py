"""Reads that pages and calls share."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.utils import timezone

from apps.federation.models import Agent, Federation, ModelVersion, Round, Run
from apps.federation.pipeline.evaluate import Measured, measured
from apps.federation.states import RUN_ACTIVE, UpdateState


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


@dataclass(frozen=True)
class VersionRow:
    """A published version and what the agents measured on it."""

    version: ModelVersion
    measured: Measured
    updates: int


def version_rows(federation: Federation, limit: int = 50) -> list[VersionRow]:
    """Return the newest published versions, newest first."""
    versions = federation.versions.exclude(number=None).select_related("round", "parent").order_by("-number")[:limit]
    return [
        VersionRow(v, measured(v), v.round.updates.filter(state=UpdateState.CONSUMED).count() if v.round else 0)
        for v in versions
    ]


@dataclass(frozen=True)
class AgentRow:
    """An agent on the dashboard: is it there, and where does it stand in the round?"""

    agent: Agent
    online: bool
    update: str


def agent_rows(federation: Federation) -> list[AgentRow]:
    """Return the federation's agents with the state of their update to the newest round."""
    round_ = newest_round(federation)
    states: dict[Any, str] = {}
    if round_ is not None:
        states = dict(round_.updates.order_by("received_at").values_list("agent", "state"))
    agents = Agent.objects.of(federation.pk).select_related("hospital").order_by("hospital__name", "enrolled_at")
    return [AgentRow(a, a.is_online(federation.seen_within), states.get(a.pk, "")) for a in agents]


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
        if round_ is not None and round_.run_id == run.pk and round_.evaluation_opened_at:
            return "The agents are evaluating the run's last version."
        need = federation.min_updates
        return f"The run waits until {need} agents are online; {status(federation)['clients_online']} are."
    names = _missing_names(round_)
    done = round_.updates.filter(state__in=[UpdateState.ACCEPTED, UpdateState.CONSUMED]).count()
    waiting = f", waiting on {', '.join(names)}" if names and round_.state == "COLLECTING" else ""
    doing = {"COLLECTING": "collecting", "AGGREGATING": "aggregating", "EVALUATING": "evaluating"}[round_.state]
    return f"Round {round_.number} of {run.rounds} is {doing}: {done} of {len(round_.expected)} updates{waiting}."


def _missing_names(round_: Round) -> list[str]:
    accepted = {str(pk) for pk in round_.updates.live().values_list("agent", flat=True)}
    missing = [pk for pk in round_.expected if pk not in accepted]
    return list(
        Agent.objects.filter(pk__in=missing).order_by("hospital__name").values_list("hospital__name", flat=True)
    )
