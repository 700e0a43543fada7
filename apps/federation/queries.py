"""Reads that pages and calls share."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Prefetch
from django.utils import timezone

from apps.federation.figures import Hospitals
from apps.federation.models import Agent, Evaluation, Federation, ModelVersion, Round, Run, Update
from apps.federation.pipeline.evaluate import Measured, measured
from apps.federation.states import RUN_ACTIVE, RoundState, RunState, UpdateState, VersionState
from apps.federation.words import Advice, failure, refusal


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
    found = versions.prefetch_related(Prefetch("evaluations", Evaluation.objects.select_related("agent")))
    consumed = Update.objects.filter(state=UpdateState.CONSUMED, round__in=[version.round_id for version in found])
    counted = dict(consumed.values_list("round").annotate(Count("pk")))
    return [_version_row(version, hospitals, counted.get(version.round_id, 0)) for version in found]


def _version_row(version: ModelVersion, hospitals: Hospitals, updates: int) -> VersionRow:
    found = measured(version)
    if found.agents == 1 and not _knows(version, hospitals):
        found = Measured(1, 0, None, None)
    alarm = version.alarm if hospitals is None or not version.alarm else WORSE
    return VersionRow(version, found, updates, told_verdict(version, hospitals), alarm)


def _knows(version: ModelVersion, hospitals: Hospitals, kinds: Collection[str] = Evaluation.Kind.values) -> bool:
    """Return whether a report on the version comes from one of these hospitals."""
    if hospitals is None:
        return True
    return any(one.kind in kinds and one.agent.hospital_id in hospitals for one in version.evaluations.all())


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


@dataclass(frozen=True)
class Progress:
    """How far a round is: accepted of expected updates, and until when it collects."""

    accepted: int
    expected: int
    required: int
    deadline: datetime | None
    collecting: bool


def progress(round_: Round | None) -> Progress | None:
    """Return how far an active round is; None where none is open."""
    if round_ is None or not round_.is_active:
        return None
    federation = round_.run.federation
    done = round_.updates.filter(state__in=[UpdateState.ACCEPTED, UpdateState.CONSUMED]).count()
    first = round_.first_accepted_at
    deadline = first + timedelta(seconds=federation.deadline) if first else None
    collecting = round_.state == RoundState.COLLECTING
    expected = max(len(round_.expected), done)
    return Progress(done, expected, federation.min_updates, deadline if collecting else None, collecting)


def round_headline(round_: Round) -> str:
    """Return the first line of a round's page."""
    name = f"Round {round_.number}" + (f", attempt {round_.attempt}," if round_.attempt > 1 else "")
    version = getattr(round_, "version", None)
    if round_.state == RoundState.PUBLISHED and version is not None:
        return f"{name} made version {version.number}."
    if round_.state == RoundState.HELD:
        return f"{name} made a version that is held back."
    if round_.state == RoundState.FAILED:
        return f"{name} ended without a version."
    return headline(round_.run.federation)


def neighbours(round_: Round) -> dict[str, Round | None]:
    """Return the rounds before and after one in its federation, as `before` and `after`."""
    others = Round.objects.of(round_.run.federation_id)
    return {
        "before": others.filter(opened_at__lt=round_.opened_at).order_by("-opened_at").first(),
        "after": others.filter(opened_at__gt=round_.opened_at).order_by("opened_at").first(),
    }


def models_headline(federation: Federation, held: int) -> str:
    """Return the first line of the models page."""
    if held:
        waiting = "One version waits" if held == 1 else f"{held} versions wait"
        return f"{waiting} for an administrator's decision."
    if federation.current is None:
        return "There is no model yet."
    return f"Version {federation.current.number} is the current model."


def told_verdict(version: ModelVersion, hospitals: Hospitals) -> str:
    """Return a version's verdict, without the figures of a single agent that is not the reader's."""
    judges = sum(one.kind == Evaluation.Kind.EVALUATE for one in version.evaluations.all())
    if judges == 1 and not _knows(version, hospitals, [Evaluation.Kind.EVALUATE]):
        return ONE_AGENTS
    return version.verdict


@dataclass(frozen=True)
class UpdateRow:
    """An update on its round's page: figures are its hospital's own."""

    update: Update
    own: bool
    advice: Advice | None


def update_rows(round_: Round, hospitals: Hospitals) -> list[UpdateRow]:
    """Return the updates of a round; refused ones only to their hospital and administrators."""
    rows = []
    for update in round_.updates.select_related("agent__hospital").order_by("received_at"):
        own = hospitals is None or update.agent.hospital_id in hospitals
        refused = update.state == UpdateState.REFUSED
        if own or not refused:
            rows.append(UpdateRow(update, own, refusal(update.code) if refused else None))
    return rows


def trouble(federation: Federation, hospitals: Hospitals) -> list[Advice]:
    """Return what needs somebody's attention now, the most urgent first."""
    found = []
    current, round_ = federation.current, newest_round(federation)
    for held in federation.versions.filter(state=VersionState.HELD):
        verdict = told_verdict(held, hospitals)
        step = "An administrator publishes or rejects it."
        found.append(Advice(f"A version is held back: {verdict}.", step, "models"))
    if current is not None and current.alarm:
        figures = f": {current.alarm}" if hospitals is None and current.alarm != WORSE else ""
        cause = f"Version {current.number} is {WORSE}{figures}."
        found.append(Advice(cause, "An administrator can go back to an earlier one.", "models"))
    if round_ is not None and round_.state == RoundState.FAILED and round_.reason != "aborted":
        found.append(failure(round_.reason))
    if round_ is not None:
        for row in update_rows(round_, hospitals):
            if row.advice is not None:
                name = row.update.agent.hospital.name
                found.append(Advice(f"{name}, round {round_.number}: {row.advice.cause}", row.advice.step))
    return found
