"""One version: what it is called, where it comes from, who was in it, and where it stands."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Prefetch

from apps.accounts.models import Hospital, User
from apps.federation.figures import Hospitals
from apps.federation.models import Evaluation, Federation, ModelVersion, Update
from apps.federation.news import names_of
from apps.federation.pipeline.propose import PROPOSALS
from apps.federation.pipeline.review import decision_of
from apps.federation.queries import told_verdict
from apps.federation.states import UpdateState, VersionState
from hospintel_core.plan import Plan

SOURCES: Mapping[str, str] = {
    ModelVersion.Source.SEED: "the start",
    ModelVersion.Source.ROUND: "a round",
    ModelVersion.Source.ROLLBACK: "a roll-back",
    ModelVersion.Source.FINE_TUNE: "a fine-tune",
    ModelVersion.Source.UPLOAD: "an upload",
}


def called(version: ModelVersion) -> str:
    """Return what people call a version: by its number, and before it has one by its digest."""
    if version.number:
        return f"version {version.number}"
    kind = "proposal" if version.source in PROPOSALS else "candidate"
    return f"{kind} {version.digest[:8]}"


def measured_as(version: ModelVersion) -> ModelVersion:
    """Return the version whose reports tell of this one: what a roll-back brought back, until it has its own."""
    found = version
    while found.source == ModelVersion.Source.ROLLBACK and found.parent is not None and not found.evaluations.all():
        found = found.parent
    return found


def source_of(version: ModelVersion) -> str:
    """Return where a version comes from, in few words."""
    if version.round is not None:
        return f"round {version.round.number}"
    return SOURCES[version.source].partition(" ")[2]


@dataclass(frozen=True)
class Facts:
    """What a page tells of one version. Names of people are for administrators, but for the reader's own."""

    version: ModelVersion
    name: str
    kind: str
    state: str
    source: str
    author: str
    decider: str
    plan: str
    hospitals: tuple[str, ...]
    verdict: str
    reason: str


def facts_of(version: ModelVersion, reader: User, hospitals: Hospitals) -> Facts:
    """Return the facts of a version for a reader who sees what is these hospitals'."""
    people = {version.author.actor} if version.author else set()
    people |= {version.decided_by} if version.decided_by else set()
    names = names_of(people, reader)
    kind, state = state_of(version)
    return Facts(
        version=version,
        name=called(version).capitalize(),
        kind=kind,
        state=state,
        source=source_of(version),
        author=names.get(version.author.actor, "") if version.author else "",
        decider=names.get(version.decided_by, ""),
        plan=_plan(Plan.from_dict(version.round.run.plan)) if version.round else "",
        hospitals=tuple(_hospitals(version)),
        verdict=told_verdict(version, hospitals),
        reason=decision_of(version.verdict)[1],
    )


def state_of(version: ModelVersion) -> tuple[str, str]:
    """Return the icon and the word for where a version stands."""
    if version.state == VersionState.PUBLISHED:
        return ("good", "Current") if version.federation.current_id == version.pk else ("idle", "Published")
    return {
        VersionState.HELD: ("warn", "In review"),
        VersionState.REJECTED: ("bad", "Rejected"),
    }.get(VersionState(version.state), ("now", "Candidate"))


def _plan(plan: Plan) -> str:
    epochs = f"{plan.epochs} epoch{'' if plan.epochs == 1 else 's'}"
    mirrored = ", scans also mirrored" if plan.mirror else ""
    return f"{epochs}, batches of {plan.batch_size}, learning rate {plan.learning_rate:g}{mirrored}"


def _hospitals(version: ModelVersion) -> list[str]:
    """Return the hospitals whose updates are in a version: who takes part is no secret among members."""
    if version.round_id is None:
        return []
    consumed = Update.objects.filter(round=version.round_id, state=UpdateState.CONSUMED)
    found = Hospital.objects.filter(agents__in=consumed.values("agent"))
    return list(found.order_by("name").values_list("name", flat=True).distinct())


def choices(federation: Federation) -> Any:
    """Return a federation's versions to choose from, the newest first, with what they are called by."""
    return (
        ModelVersion.objects.filter(federation=federation).select_related("federation", "round").order_by("-created_at")
    )


def versions_of(federation: Federation) -> Any:
    """Return a federation's versions with all that pages read of one, the newest first."""
    found = ModelVersion.objects.filter(federation=federation).order_by("-created_at")
    found = found.select_related("federation", "parent__round", "author", "round__run__federation")
    reports = Prefetch("evaluations", Evaluation.objects.select_related("agent"))
    return found.prefetch_related(reports, "round__attendance__agent__hospital")


def headline(version: ModelVersion, successor: ModelVersion | None) -> str:
    """Return the first line of a version's page."""
    name = called(version).capitalize()
    if version.state == VersionState.HELD:
        return f"{name} waits for an administrator's decision."
    if version.state == VersionState.REJECTED:
        return f"{name} was rejected."
    if version.state == VersionState.CANDIDATE:
        return f"{name} is not decided about yet."
    if version.federation.current_id == version.pk:
        return f"{name} is the current model."
    return f"{name} was current until {called(successor)} replaced it." if successor else f"{name} was published."


def neighbours(version: ModelVersion) -> dict[str, ModelVersion | None]:
    """Return the published versions before and after one, as `before` and `after`."""
    others = version.federation.versions.exclude(number=None)
    if version.number is None:
        return {"before": version.parent, "after": None}
    return {
        "before": others.filter(number__lt=version.number).order_by("-number").first(),
        "after": others.filter(number__gt=version.number).order_by("number").first(),
    }


def lineage_headline(federation: Federation) -> str:
    """Return the first line of the page of all versions."""
    count = federation.versions.count()
    if federation.current is None:
        return "There is no model yet."
    if count == 1:
        return "There is one version, and it is current."
    return f"Of {count} versions, {called(federation.current)} is current."
