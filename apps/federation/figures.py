"""What was measured: pooled reports of a version, times and bytes of a round."""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from django.db.models import Prefetch

from apps.federation.models import Federation, ModelVersion, Round, Update
from apps.federation.models.round import RoundQuerySet
from apps.federation.pipeline.aggregate import FEW
from apps.federation.pipeline.evaluate import pooled
from apps.federation.states import UPDATE_LIVE, RoundState, UpdateState
from hospintel_core.metrics import ClassFigures, per_class, wilson_interval
from hospintel_core.report import Report

Hospitals = set[UUID] | None


def hub_seconds(version: ModelVersion) -> float | None:
    """Return the hub's own time for a version, without its waiting for agents.

    From its round's last accepted update to publication; from the closing where the round waited for others in vain.
    """
    round_ = version.round
    if round_ is None or version.published_at is None or round_.last_accepted_at is None:
        return None
    came = {str(update.agent_id) for update in round_.updates.all() if update.state in UPDATE_LIVE}
    since = round_.last_accepted_at if came.issuperset(round_.expected) else round_.closed_at
    if since is None:
        return None
    waited = 0.0
    opened, closed = round_.evaluation_opened_at, round_.evaluation_closed_at
    if opened and closed and closed <= version.published_at:
        waited = (closed - opened).total_seconds()
    return (version.published_at - since).total_seconds() - waited


@dataclass(frozen=True)
class Share:
    """How many of some scans were named right, with the interval of 95 % (Wilson) of their share."""

    right: int
    scans: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The share, 0 to 1."""
        return self.right / self.scans


def share(right: int, scans: int) -> Share | None:
    """Return a share with its interval; None of no scans."""
    return Share(right, scans, *wilson_interval(right, scans)) if scans else None


@dataclass(frozen=True)
class ClassRow:
    """One class of a version's table: figures, and its row (the truth) of the confusion counts."""

    name: str
    figures: ClassFigures
    counts: tuple[int, ...]

    @property
    def recall(self) -> Share | None:
        """Of the scans of the class, those that were found."""
        return share(self.figures.hits, self.figures.support)

    @property
    def precision(self) -> Share | None:
        """Of the scans that were named so, those that were right."""
        return share(self.figures.hits, self.figures.predicted)

    @property
    def found(self) -> int:
        """Per cent of the class' scans that were found, for a bar."""
        return round(100 * (self.figures.recall or 0))


@dataclass(frozen=True)
class VersionFigures:
    """What the agents together measured on a version; `own`: only those of the reader's hospitals.

    `hub`: measured by the hub on its validation set, and by no agent.
    """

    accuracy: float
    low: float
    high: float
    loss: float
    n: int
    agents: int
    classes: tuple[ClassRow, ...]
    own: bool = False
    hub: bool = False


@dataclass(frozen=True)
class Shown:
    """What a reader is shown of a version's reports: their sum, of how many agents, and whether only the reader's own.

    `withheld`: there are others' reports, too few to be shown as a sum.
    """

    agents: int
    report: Report | None
    own: bool = False
    withheld: bool = False

    @property
    def n(self) -> int:
        """Return how many scans were counted."""
        return self.report.n if self.report else 0

    @property
    def accuracy(self) -> float | None:
        """Return the share of right answers."""
        return self.report.accuracy if self.report else None

    @property
    def loss(self) -> float | None:
        """Return the mean loss of a scan."""
        return self.report.loss if self.report else None


def shown(version: ModelVersion, hospitals: Hospitals) -> Shown:
    """Return the sum of the reports on a version, as far as a reader with these hospitals may know it.

    The sum over fewer than three hospitals is for administrators: of two, each would learn the other's figures. The
    reader's own are shown instead.
    """
    there = {one.agent.hospital_id for one in version.evaluations.all()}
    few = 0 < len(there) < FEW
    withheld = hospitals is not None and few and not there <= hospitals
    return Shown(
        *pooled(version, shown_agents(version, hospitals)), own=hospitals is not None and few, withheld=withheld
    )


def shown_agents(version: ModelVersion, hospitals: Hospitals) -> set[UUID]:
    """Return the agents whose reports on a version make the sum that this reader is shown."""
    reports = version.evaluations.all()
    if hospitals is not None and len({one.agent.hospital_id for one in reports}) < FEW:
        return own_agents(version, hospitals)
    return {one.agent_id for one in reports}


def own_agents(version: ModelVersion, hospitals: set[UUID]) -> set[UUID]:
    """Return the agents of these hospitals that reported on a version."""
    return {one.agent_id for one in version.evaluations.all() if one.agent.hospital_id in hospitals}


def version_figures(version: ModelVersion, hospitals: Hospitals) -> VersionFigures | None:
    """Return the figures of a version that this reader may see, or None where there are none."""
    found = shown(version, hospitals)
    return figures_of(found.report, version.federation.classes, found.agents, own=found.own)


def figures_of(
    total: Report | None, names: list[str], agents: int = 0, *, own: bool = False, hub: bool = False
) -> VersionFigures | None:
    """Return the figures of a sum of reports; None where nothing was counted."""
    if total is None or total.accuracy is None or total.loss is None:
        return None
    low, high = wilson_interval(total.correct, total.n)
    rows = _classes(total, names)
    return VersionFigures(total.accuracy, low, high, total.loss, total.n, agents, rows, own=own, hub=hub)


def _classes(total: Report, names: list[str]) -> tuple[ClassRow, ...]:
    rows = zip(names, per_class(total.confusion), total.confusion, strict=True)
    return tuple(ClassRow(name, figures, counts) for name, figures, counts in rows)


@dataclass(frozen=True)
class RoundRow:
    """A round as lists show it; None is what this reader may not see or what is not known yet."""

    round: Round
    version: ModelVersion | None
    updates: int
    expected: int
    seconds: float | None
    hub_seconds: float | None
    slowest_training: float | None
    bytes_up: int | None


@dataclass(frozen=True)
class Phase:
    """A part of a round's time: seconds, and per cent of the longest part, for a bar."""

    name: str
    seconds: float
    share: int


_LAST: dict[str, str] = {RoundState.FAILED: "Until it ended without a version", RoundState.HELD: "Evaluating"}


def phases(round_: Round) -> list[Phase]:
    """Return where a round's time went, as far as it has come."""
    marks = [
        ("Waiting for the first update", round_.first_accepted_at),
        ("Collecting the others", round_.closed_at),
        ("Aggregating", round_.aggregated_at),
        (_LAST.get(round_.state, "Evaluating and publishing"), round_.ended_at),
    ]
    found, since = [], round_.opened_at
    for name, at in marks:
        if at is not None:
            found.append((name, max(0.0, (at - since).total_seconds())))
            since = max(at, since)
    longest = max((seconds for _, seconds in found), default=0.0) or 1.0
    return [Phase(name, seconds, round(100 * seconds / longest)) for name, seconds in found]


def rounds_of(federation: Federation) -> RoundQuerySet:
    """Return a federation's rounds, newest first, with all that `round_row` reads."""
    found = Round.objects.of(federation.pk).select_related("run__federation", "base", "version").order_by("-opened_at")
    return found.prefetch_related(Prefetch("updates", Update.objects.select_related("agent")))


def round_row(round_: Round, hospitals: Hospitals) -> RoundRow:
    """Return one round's row. Bytes and times are a hospital's own; of three and more, everyone sees the sum."""
    updates = [update for update in round_.updates.all() if update.state in UPDATE_LIVE]
    version = getattr(round_, "version", None)
    all_seen = hospitals is None or len({update.agent.hospital_id for update in updates}) >= FEW
    own = updates if hospitals is None else [update for update in updates if update.agent.hospital_id in hospitals]
    return RoundRow(
        round=round_,
        version=version,
        updates=sum(update.state in {UpdateState.ACCEPTED, UpdateState.CONSUMED} for update in updates),
        expected=max(len(round_.expected), len(updates)),
        seconds=(round_.ended_at - round_.opened_at).total_seconds() if round_.ended_at else None,
        hub_seconds=hub_seconds(version) if version else None,
        slowest_training=_slowest(own),
        bytes_up=sum(update.size for update in updates) if all_seen else None,
    )


def _slowest(updates: Iterable[Update]) -> float | None:
    return max((update.train_seconds for update in updates if update.train_seconds is not None), default=None)
