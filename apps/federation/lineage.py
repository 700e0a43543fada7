"""Which version was made from which, as a drawing: a row a version, the newest on top.

The line on the left is what the current version was made from, back to the start. What a roll-back left behind, what
waits and what was rejected stands on lines of its own, as far to the right as needed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db.models import F, Prefetch
from django.db.models.functions import Coalesce

from apps.federation.figures import Hospitals, Shown, shown
from apps.federation.models import Evaluation, Federation, ModelVersion
from apps.federation.pipeline.review import decision_of
from apps.federation.queries import WORSE, told_verdict
from apps.federation.states import VersionState
from apps.federation.versions import called, source_of, state_of

# Pixels where a letter is 16 high; the page scales both with the reader's letters.
ROW, LANE, LETTER = 56, 22, 16
MOST_LANES = 6
_BEND = 16


@dataclass(frozen=True)
class Node:
    """One version of the drawing: where it stands, and what is said beside it."""

    version: ModelVersion
    x: int
    y: int
    shape: str
    name: str
    kind: str
    state: str
    source: str
    parent: str
    measured: Shown
    why: str
    alarm: str


@dataclass(frozen=True)
class Drawing:
    """Rows and lines of some versions; `trunk` is the current one's. `said` is what the picture shows, in words."""

    nodes: tuple[Node, ...]
    trunk: tuple[str, ...]
    lines: tuple[str, ...]
    cut: tuple[str, ...]
    lanes: int
    said: str

    @property
    def width(self) -> int:
        """Of the picture, in pixels."""
        return self.lanes * LANE

    @property
    def height(self) -> int:
        """Of the picture, in pixels."""
        return len(self.nodes) * ROW

    @property
    def letters(self) -> tuple[str, str]:
        """Width and height in `rem`, so that the rows stay beside their words at every size of letters."""
        return f"{self.width / LETTER}rem", f"{self.height / LETTER}rem"


def newest(federation: Federation, first: int, count: int) -> list[ModelVersion]:
    """Return some of a federation's versions, from the `first` on, in the order of the drawing.

    A version stands where it was published, or made if it is not: so what it was made from always stands below it.
    """
    found = ModelVersion.objects.filter(federation=federation).select_related("federation", "parent", "round")
    found = found.prefetch_related(Prefetch("evaluations", Evaluation.objects.select_related("agent")))
    at = Coalesce("published_at", "created_at")
    return list(found.order_by(at.desc(), F("number").desc(nulls_first=True), "pk")[first : first + count])


def draw(federation: Federation, versions: Sequence[ModelVersion], hospitals: Hospitals) -> Drawing:
    """Draw these versions, which stand in the order of `newest`, for a reader with these hospitals."""
    parents = dict(ModelVersion.objects.filter(federation=federation).values_list("pk", "parent"))
    trunk = _ancestors(federation.current_id, parents)
    places, lines, cut, lanes = _lay_out([(one.pk, one.parent_id) for one in versions], trunk, set(parents.values()))
    nodes = tuple(
        _node(version, lane, row, hospitals, on_trunk=version.pk in trunk)
        for row, (version, lane) in enumerate(zip(versions, places, strict=True))
    )
    straight = [path for path in lines if path.startswith(f"M{_x(0)} ")]
    others = [path for path in lines if path not in straight]
    return Drawing(nodes, tuple(straight), tuple(others), tuple(cut), lanes, _said(nodes, trunk))


def _ancestors(start: UUID | None, parents: Mapping[UUID, UUID | None]) -> set[UUID]:
    found: set[UUID] = set()
    while start is not None and start not in found:
        found.add(start)
        start = parents.get(start)
    return found


def _lay_out(
    rows: Sequence[tuple[UUID, UUID | None]], trunk: set[UUID], with_children: set[UUID | None]
) -> tuple[list[int], list[str], list[str], int]:
    """Give each row (a version, what it was made from) a lane.

    Returns:
        The lanes by row, the paths of whole lines, the paths of those that go on on another page, and how many lanes.
    """
    lanes: list[int] = []
    lines: list[str] = []
    cut: list[str] = []
    # Lane -> what a line in it leads to, and where it comes from.
    open_lines: dict[int, tuple[UUID, int]] = {}
    for row, (pk, parent) in enumerate(rows):
        coming = sorted(lane for lane, (wanted, _) in open_lines.items() if wanted == pk)
        lane = _lane(coming, open_lines, on_trunk=pk in trunk)
        lanes.append(lane)
        lines += [_line(other, open_lines.pop(other)[1], lane, row) for other in coming]
        if not coming and pk in with_children:
            cut.append(_stub(lane, row, up=True))
        if parent is None:
            continue
        if lane in open_lines or lane >= MOST_LANES:
            cut.append(_stub(lane, row, up=False))
        else:
            open_lines[lane] = (parent, row)
    cut += [f"M{_x(lane)} {_y(row)}V{len(rows) * ROW}" for lane, (_, row) in open_lines.items()]
    return lanes, lines, cut, 1 + max(lanes, default=0)


def _lane(coming: Sequence[int], taken: Mapping[int, object], *, on_trunk: bool) -> int:
    if on_trunk:
        return 0
    if coming:
        return coming[0]
    return next((lane for lane in range(1, MOST_LANES) if lane not in taken), MOST_LANES)


def _x(lane: int) -> int:
    return lane * LANE + LANE // 2


def _y(row: int) -> int:
    return row * ROW + ROW // 2


def _line(lane: int, since: int, to_lane: int, to_row: int) -> str:
    """Straight down, and at its end over to the lane of what it leads to."""
    x, end_x, end_y = _x(lane), _x(to_lane), _y(to_row)
    if lane == to_lane:
        return f"M{x} {_y(since)}V{end_y}"
    return f"M{x} {_y(since)}V{end_y - 2 * _BEND}C{x} {end_y - _BEND} {end_x} {end_y - _BEND} {end_x} {end_y}"


def _stub(lane: int, row: int, *, up: bool) -> str:
    return f"M{_x(lane)} {_y(row)}v{-ROW // 2 if up else ROW // 2}"


_SHAPES: Mapping[str, str] = {
    ModelVersion.Source.FINE_TUNE: "person",
    ModelVersion.Source.UPLOAD: "person",
    ModelVersion.Source.ROLLBACK: "back",
}


def _node(version: ModelVersion, lane: int, row: int, hospitals: Hospitals, *, on_trunk: bool) -> Node:
    kind, state = state_of(version)
    if version.state == VersionState.PUBLISHED and not on_trunk:
        state = "Left behind"
    rolled_back = version.source == ModelVersion.Source.ROLLBACK
    return Node(
        version=version,
        x=_x(lane),
        y=_y(row),
        shape=_SHAPES.get(version.source, "round"),
        name=called(version).capitalize(),
        kind=kind,
        state=state,
        source="" if rolled_back else source_of(version),
        parent=called(version.parent) if version.parent is not None and not rolled_back else "",
        measured=shown(version, hospitals),
        why=_why(version, hospitals),
        alarm=WORSE.capitalize() if version.alarm else "",
    )


def _why(version: ModelVersion, hospitals: Hospitals) -> str:
    """Return why a version stands where it does: its verdict, or, of one that a person published, what they said."""
    if version.source == ModelVersion.Source.ROLLBACK or version.number is None:
        return told_verdict(version, hospitals)
    return ": ".join(filter(None, decision_of(version.verdict)))


def _said(nodes: Sequence[Node], trunk: set[UUID]) -> str:
    """Return what the drawing shows, for who does not see it; the list beside it has the rest."""
    line = [node.name for node in nodes if node.version.pk in trunk]
    aside = [f"{node.name} ({node.state.lower()})" for node in nodes if node.version.pk not in trunk]
    said = f"The line of the current version, the newest first: {', '.join(line)}." if line else "No current version."
    return f"{said} Beside it: {', '.join(aside)}." if aside else said
