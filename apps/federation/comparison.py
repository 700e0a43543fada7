"""Two versions beside each other: what the same agents measured on both, and how far the two are apart."""

from dataclasses import dataclass
from uuid import UUID

from apps.federation.figures import Hospitals, Share, VersionFigures, figures_of, own_agents, share, shown, shown_agents
from apps.federation.models import ModelVersion, ValidationReport
from apps.federation.pipeline.evaluate import pooled
from apps.federation.versions import called, measured_as
from hospintel_core.architectures import class_word
from hospintel_core.metrics import difference_interval
from hospintel_core.report import Report


@dataclass(frozen=True)
class Gap:
    """By how much the second share is larger than the first, -1 to 1.

    `low` and `high` are the interval of 95 % of the difference, where counts give an honest one.
    """

    change: float
    low: float | None = None
    high: float | None = None

    @property
    def better(self) -> bool:
        """Whether the whole interval is above 0."""
        return self.low is not None and self.low > 0

    @property
    def worse(self) -> bool:
        """Whether the whole interval is below 0."""
        return self.high is not None and self.high < 0


@dataclass(frozen=True)
class Line:
    """One share of both versions: the accuracy, or recall or precision of a class. `gap` only of the same scans."""

    name: str
    first: Share | None
    second: Share | None
    gap: Gap | None


@dataclass(frozen=True)
class Comparison:
    """What was measured on two versions, as far as the reader may know.

    `same`: by the same agents, so that the two may be compared; else each has what was measured on it, and no line has
    a gap. `alike`: they counted as many scans of each class, too. `own`: the agents are the reader's hospital's.
    `again`: versions that a roll-back brought back and nobody has measured since; what was measured before counts.
    """

    first: VersionFigures | None
    second: VersionFigures | None
    lines: tuple[Line, ...]
    same: bool
    alike: bool
    own: bool
    again: tuple[ModelVersion, ...] = ()

    @property
    def accuracy(self) -> Gap | None:
        """By how much the second is more accurate; None where the two cannot be compared."""
        return self.lines[0].gap if self.lines else None

    @property
    def loss_change(self) -> float | None:
        """By how much the second one's mean loss is larger; None where the two cannot be compared."""
        return self.second.loss - self.first.loss if self.same and self.first and self.second else None

    @property
    def worse_in(self) -> list[str]:
        """The classes of which the second version clearly finds fewer."""
        return [line.name.partition(":")[0] for line in self.lines[1:] if line.gap is not None and line.gap.worse]


def compare(first: ModelVersion, second: ModelVersion, hospitals: Hospitals) -> Comparison:
    """Compare two versions of one federation for a reader who sees what is these hospitals'."""
    names = first.federation.classes
    again = [one for one in (first, second) if measured_as(one) != one]
    first, second = measured_as(first), measured_as(second)
    agents, own = _judges(first, second, hospitals)
    if agents:
        sides = [figures_of(pooled(one, agents)[1], names, len(agents), own=own) for one in (first, second)]
    else:
        found = [shown(one, hospitals) for one in (first, second)]
        sides = [figures_of(one.report, names, one.agents, own=one.own) for one in found]
    one, two = sides
    same = bool(agents) and one is not None and two is not None
    return Comparison(
        first=one,
        second=two,
        lines=_lines(one, two, names, same=same),
        same=same,
        alike=same and _supports(one) == _supports(two),
        own=own,
        again=tuple(again),
    )


def compare_on_hub(first: ModelVersion, second: ModelVersion) -> Comparison | None:
    """Compare two versions on the newest validation set of the hub on which both were measured; None where on none.

    Its scans are the hub's and no hospital's: everybody is shown it.
    """
    digests = {first.digest, second.digest}
    rows = ValidationReport.objects.filter(version__federation=first.federation_id, version__digest__in=digests)
    by_set: dict[UUID, dict[str, Report]] = {}
    for row in rows.select_related("version").order_by("-validation_set__created_at"):
        by_set.setdefault(row.validation_set_id, {})[row.version.digest] = row.report
    found = next((reports for reports in by_set.values() if reports.keys() == digests), None)
    if found is None:
        return None
    names = first.federation.classes
    one, two = (figures_of(found[version.digest], names, hub=True) for version in (first, second))
    lines = _lines(one, two, names, same=True)
    return Comparison(first=one, second=two, lines=lines, same=True, alike=True, own=False)


def _judges(first: ModelVersion, second: ModelVersion, hospitals: Hospitals) -> tuple[set[UUID], bool]:
    """Return the agents that measured both, and whether they are the reader's own.

    A sum over some of the agents, taken off the sum over all that a reader is shown elsewhere, would be the figures of
    the others: unless both versions were measured by the very same, only administrators are shown it.
    """
    shown_1, shown_2 = shown_agents(first, hospitals), shown_agents(second, hospitals)
    if hospitals is None:
        return shown_1 & shown_2, False
    own = own_agents(first, hospitals) & own_agents(second, hospitals)
    if shown_1 == shown_2:
        return shown_1, shown_1 == own
    return own, True


def _supports(figures: VersionFigures | None) -> list[int]:
    return [row.figures.support for row in figures.classes] if figures else []


def _lines(
    first: VersionFigures | None, second: VersionFigures | None, names: list[str], *, same: bool
) -> tuple[Line, ...]:
    if first is None and second is None:
        return ()
    lines = [_line("Accuracy", _accuracy(first), _accuracy(second), same=same)]
    for place, name in enumerate(names):
        one, two = (figures.classes[place] if figures else None for figures in (first, second))
        recalls = (row.recall if row else None for row in (one, two))
        lines.append(_line(f"{class_word(name)}: recall", *recalls, same=same))
        precisions = (row.precision if row else None for row in (one, two))
        # How many scans a model names so is its own doing: there are no trials to take an interval of.
        lines.append(_line(f"{class_word(name)}: precision", *precisions, same=same, honest=False))
    return tuple(lines)


def _accuracy(figures: VersionFigures | None) -> Share | None:
    return share(sum(row.figures.hits for row in figures.classes), figures.n) if figures else None


def _line(name: str, first: Share | None, second: Share | None, *, same: bool, honest: bool = True) -> Line:
    if not same or first is None or second is None:
        return Line(name, first, second, None)
    limits = difference_interval((first.right, first.scans), (second.right, second.scans)) if honest else (None, None)
    return Line(name, first, second, Gap(second.value - first.value, *limits))


def finding(first: ModelVersion, second: ModelVersion, found: Comparison) -> str:
    """Return in one sentence how the second version stands to the first."""
    one, two = called(first), called(second)
    for name, figures in ((two, found.second), (one, found.first)):
        if figures is None:
            return f"{name.capitalize()} has no figures to compare."
    gap = found.accuracy
    if gap is None or found.first is None or found.second is None:
        return f"{two.capitalize()} and {one} were measured by different agents."
    shares = f"{found.second.accuracy:.1%} against {found.first.accuracy:.1%}".replace("%", "\N{NO-BREAK SPACE}%")
    if gap.better or gap.worse:
        return f"{two.capitalize()} is {'more' if gap.better else 'less'} accurate than {one}: {shares}."
    if not gap.change:
        return f"{two.capitalize()} is as accurate as {one}: {shares.partition(' against')[0]}."
    return f"{two.capitalize()} is not clearly better or worse than {one}: {shares}."


@dataclass(frozen=True)
class Beside:
    """Two versions beside each other, as agents and as the hub measured them; `finding` says how the second stands."""

    by_agents: Comparison
    on_hub: Comparison | None
    finding: str


def beside(first: ModelVersion, second: ModelVersion, hospitals: Hospitals) -> Beside:
    """Return all that a reader, who sees what is these hospitals', is told of two versions of one federation."""
    by_agents, on_hub = compare(first, second, hospitals), compare_on_hub(first, second)
    return Beside(by_agents, on_hub, finding(first, second, on_hub or by_agents))
