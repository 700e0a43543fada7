"""Reads that pages and calls share."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from django.db.models import Count, Prefetch
from django.utils import timezone

from apps.audit.feed import as_event
from apps.audit.models import AuditEntry
from apps.federation.figures import Hospitals, Shown, shown
from apps.federation.models import Agent, Evaluation, Federation, ModelVersion, Round, Run, Update
from apps.federation.pipeline.aggregate import FEW
from apps.federation.pipeline.validate import by_hub
from apps.federation.states import RUN_ACTIVE, RoundState, RunState, UpdateState, VersionState
from apps.federation.words import FAILURES, Advice, counted, failure, refusal


def newest_round(federation: Federation) -> Round | None:
    """Return the round in progress, or the last one."""
    return Round.objects.of(federation.pk).select_related("run__federation").order_by("-opened_at").first()


@dataclass(frozen=True)
class Situation:
    """Where a federation stands, read once, so that no two parts of a page tell of two moments.

    `run` is the one in progress, `round` the one in progress or the last one.
    """

    federation: Federation
    run: Run | None
    round: Round | None

    @cached_property
    def progress(self) -> "Progress | None":
        """How far the round is; None where none is open."""
        return progress(self.round) if self.round is not None else None

    @cached_property
    def online(self) -> int:
        """How many agents have called lately."""
        since = timezone.now() - timedelta(seconds=self.federation.seen_within)
        return Agent.objects.active().of(self.federation.pk).seen_since(since).count()


def situation(federation: Federation) -> Situation:
    """Read where a federation stands."""
    round_ = newest_round(federation)
    # The run of an open round came with it.
    run = round_.run if round_ is not None and round_.run.state in RUN_ACTIVE else active_run(federation)
    return Situation(federation, run, round_)


def status(now: Situation) -> dict[str, Any]:
    """Return what `GET /status` answers: where the federation stands, and nothing about any one hospital."""
    federation, round_ = now.federation, now.round
    active = round_ is not None and round_.is_active
    closes = round_.closes_at if round_ is not None and round_.state == RoundState.COLLECTING else None
    pending = round_.updates.filter(state__in=[UpdateState.RECEIVED, UpdateState.ACCEPTED]).count() if round_ else 0
    return {
        "round": round_.number if round_ else 0,
        "pending_updates": pending if active else 0,
        "required_updates": federation.min_updates,
        "clients_online": now.online,
        "state": round_.state if round_ and active else "IDLE",
        "deadline": closes.isoformat() if closes else None,
        "version": federation.current.number if federation.current else None,
        "model": federation.current.digest if federation.current else None,
        "architecture": federation.architecture,
    }


WITHHELD = "measured by fewer than three hospitals"
WORSE = "worse than its parent"


@dataclass(frozen=True)
class VersionRow:
    """A published version and what the agents measured on it, as far as the reader may know (`figures.shown`)."""

    version: ModelVersion
    measured: Shown
    updates: int
    verdict: str
    alarm: str


def version_rows(federation: Federation, hospitals: Hospitals, limit: int = 50, first: int = 0) -> list[VersionRow]:
    """Return published versions from the `first` on, newest first, for a reader who sees what is these hospitals'."""
    numbered = federation.versions.exclude(number=None).select_related("round", "parent").order_by("-number")
    versions = numbered[first : first + limit]
    found = versions.prefetch_related(Prefetch("evaluations", Evaluation.objects.select_related("agent")))
    consumed = Update.objects.filter(state=UpdateState.CONSUMED, round__in=[version.round_id for version in found])
    counted = dict(consumed.values_list("round").annotate(Count("pk")))
    return [_version_row(version, hospitals, counted.get(version.round_id, 0)) for version in found]


def _version_row(version: ModelVersion, hospitals: Hospitals, updates: int) -> VersionRow:
    alarm = version.alarm if hospitals is None or not version.alarm else WORSE
    return VersionRow(version, shown(version, hospitals), updates, told_verdict(version, hospitals), alarm)


def active_run(federation: Federation) -> Run | None:
    """Return the run in progress, if there is one."""
    return federation.runs.filter(state__in=RUN_ACTIVE).first()


def headline(now: Situation) -> str:
    """Return the first line of the dashboard: what is going on."""
    federation, run, round_ = now.federation, now.run, now.round
    if run is None:
        if round_ is None:
            return "Nothing has been trained yet. Enrol the hospitals' agents and start a run."
        number = federation.current.number if federation.current else "none"
        return f"No run is active. The current model is version {number}."
    if round_ is None or now.progress is None:
        if round_ is not None and round_.run_id == run.pk and _evaluating_last(round_):
            return "The agents are evaluating the run's last version."
        if run.state == RunState.PAUSED:
            return _why_paused(run)
        need = federation.min_updates
        return counted(f"The run waits until {need} agents are online; {now.online} are.")
    return _in_progress(round_, now.progress)


def _in_progress(round_: Round, far: "Progress") -> str:
    """Return the first line while a round is open."""
    run = round_.run
    waiting = f", waiting on {', '.join(far.missing)}" if far.missing and far.collecting else ""
    doing = {"COLLECTING": "collecting", "AGGREGATING": "aggregating", "EVALUATING": "evaluating"}[round_.state]
    said = f"Round {round_.number} of {run.rounds} is {doing}: {far.accepted} of {far.expected} updates{waiting}."
    said = counted(said)
    return f"{said} The run is paused after it." if run.state == RunState.PAUSED else said


def _evaluating_last(round_: Round) -> bool:
    published = round_.state == RoundState.PUBLISHED
    return published and round_.evaluation_opened_at is not None and round_.evaluation_closed_at is None


def _why_paused(run: Run) -> str:
    held = ModelVersion.objects.filter(round__run=run, state=VersionState.HELD).order_by("-created_at").first()
    if held is None:
        entry = AuditEntry.objects.filter(object=f"run:{run.pk}", action="run.paused").order_by("-seq").first()
        known = FAILURES.get("" if entry is None else str(as_event(entry)["facts"].get("reason")))
        return "The run is paused." if known is None else f"The run is paused. {known.cause} {known.step}"
    return f"The run is paused: version {held.digest[:12]} is held until an admin publishes or rejects it."


@dataclass(frozen=True)
class Progress:
    """How far a round is: accepted of expected updates, whose are missing, and until when it collects.

    `closes` is when it closes at the latest; `enough`: with what is in by then, it makes a version.
    """

    accepted: int
    missing: tuple[str, ...]
    expected: int
    required: int
    closes: datetime | None
    collecting: bool

    @property
    def enough(self) -> bool:
        """Return whether the quorum is in."""
        return self.accepted >= self.required


def progress(round_: Round) -> Progress | None:
    """Return how far an active round is; None for one that has ended."""
    if not round_.is_active:
        return None
    federation = round_.run.federation
    there = dict(round_.updates.live().values_list("agent", "state"))
    done = sum(state in {UpdateState.ACCEPTED, UpdateState.CONSUMED} for state in there.values())
    # An agent that was revoked is not waited for.
    awaited = Agent.objects.active().filter(pk__in=round_.expected).exclude(pk__in=there).order_by("hospital__name")
    missing = tuple(awaited.values_list("hospital__name", flat=True))
    collecting = round_.state == RoundState.COLLECTING
    closes = round_.closes_at if done >= federation.min_updates else round_.deadline_at
    closes = closes if collecting else None
    all_of_them = len(there) + len(missing)
    expected = all_of_them if round_.wanted is None else min(all_of_them, max(round_.wanted, done))
    return Progress(done, missing, expected, federation.min_updates, closes, collecting)


def round_headline(round_: Round, far: Progress | None) -> str:
    """Return the first line of a round's page; `far`: how far it is, if it is open."""
    name = f"Round {round_.number}" + (f", attempt {round_.attempt}," if round_.attempt > 1 else "")
    version = getattr(round_, "version", None)
    if round_.state == RoundState.PUBLISHED and version is not None:
        return f"{name} made version {version.number}."
    if round_.state == RoundState.HELD:
        return f"{name} made a version that is held back."
    if round_.is_superseded:
        return f"{name} was superseded by another version."
    return f"{name} ended without a version." if far is None else _in_progress(round_, far)


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
    """Return a version's verdict; not the figures in it, where fewer than three hospitals judged, one another's."""
    if by_hub(version):
        return version.verdict
    judged = [one for one in version.evaluations.all() if one.kind == Evaluation.Kind.EVALUATE]
    there = {one.agent.hospital_id for one in judged}
    if hospitals is None or not there or len(there) >= FEW or there <= hospitals:
        return version.verdict
    return WITHHELD


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


def trouble(now: Situation, hospitals: Hospitals) -> list[Advice]:
    """Return what needs somebody's attention now, the most urgent first."""
    found = []
    federation, round_ = now.federation, now.round
    current = federation.current
    for held in federation.versions.filter(state=VersionState.HELD):
        verdict = told_verdict(held, hospitals)
        step = "An administrator publishes or rejects it."
        found.append(Advice(f"A version is held back: {verdict}.", step, "models"))
    if current is not None and current.alarm:
        figures = f": {current.alarm}" if hospitals is None and current.alarm != WORSE else ""
        cause = f"Version {current.number} is {WORSE}{figures}."
        found.append(Advice(cause, "An administrator can go back to an earlier one.", "models"))
    if round_ is not None and round_.state == RoundState.FAILED and round_.reason != "aborted":
        found.append(failure(round_.reason, goes_on=round_.run.state == RunState.RUNNING))
    if round_ is not None:
        counted = set(round_.updates.live().values_list("agent", flat=True))
        for row in update_rows(round_, hospitals):
            if row.advice is not None and row.advice.alarm and row.update.agent_id not in counted:
                name = row.update.agent.hospital.name
                found.append(Advice(f"{name}, round {round_.number}: {row.advice.cause}", row.advice.step))
    return found
