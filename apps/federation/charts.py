"""Line charts as coordinates for a template to draw as SVG: readable without scripts, printable, testable."""

from collections.abc import Sequence
from dataclasses import dataclass

from apps.federation.templatetags.amounts import PER_CENT

WIDTH, HEIGHT = 560, 200
# On a phone the same drawing would have letters of half the size.
NARROW = 340
LEFT, RIGHT, TOP, BOTTOM = 44, 56, 12, 26
_TICKS = 4
_WHOLE_PERCENT = 0.01
_ROOMY = 24


@dataclass(frozen=True)
class Mark:
    """A point of a line, with what it stands for."""

    x: float
    y: float
    label: str
    value: float


@dataclass(frozen=True)
class Tick:
    """A grid line or a label of an axis."""

    at: float
    text: str


@dataclass(frozen=True)
class Chart:
    """A line of measured values over versions. `said` is its finding in one sentence."""

    name: str
    said: str
    path: str
    marks: tuple[Mark, ...]
    rows: tuple[Tick, ...]
    columns: tuple[Tick, ...]
    last: str
    width: int
    height: int = HEIGHT
    left: int = LEFT

    @property
    def right(self) -> int:
        """Where the grid lines end, and the value of the last point begins."""
        return self.width - RIGHT

    @property
    def dot(self) -> float:
        """The radius of a point: where there are many, the line is what is looked at."""
        return 4 if len(self.marks) <= _ROOMY else 2


def line_chart(
    name: str, points: Sequence[tuple[str, float]], *, percent: bool = False, of: str = "version", width: int = WIDTH
) -> Chart | None:
    """Return the chart of at least two (label, value) points, oldest first; None for fewer."""
    if len(points) < 2:  # noqa: PLR2004 - one point is no line
        return None
    values = [value for _, value in points]
    # Grid lines closer to each other than their labels can tell would look like a mistake.
    low, high, step = _scale(min(values), max(values), 1e-3 if percent else 1e-2)

    def x(place: int) -> float:
        return round(LEFT + (width - LEFT - RIGHT) * place / (len(points) - 1), 1)

    def y(value: float) -> float:
        return round(TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low), 1)

    def text(value: float, digits: int = 1) -> str:
        return f"{value * 100:.{digits}f}{PER_CENT}" if percent else f"{value:.{digits + 1}f}"

    marks = tuple(Mark(x(place), y(value), label, value) for place, (label, value) in enumerate(points))
    count = round((high - low) / step)
    every = max(1, -(-len(points) // (width // 60)))
    moved = "stayed at" if text(values[0]) == text(values[-1]) else ("rose" if values[-1] > values[0] else "fell")
    way = "" if moved == "stayed at" else f" from {text(values[0])} to"
    return Chart(
        name=name,
        said=f"{name} {moved}{way} {text(values[-1])} from {of} {points[0][0]} to {of} {points[-1][0]}.",
        path=" ".join(f"{mark.x},{mark.y}" for mark in marks),
        marks=marks,
        rows=tuple(
            Tick(y(low + step * n), text(low + step * n, 0 if percent and step >= _WHOLE_PERCENT else 1))
            for n in range(count + 1)
        ),
        columns=tuple(Tick(marks[place].x, points[place][0]) for place in range(0, len(points), every)),
        last=text(values[-1]),
        width=width,
    )


def _scale(least: float, most: float, finest: float) -> tuple[float, float, float]:
    """Return round limits around the values, and the step between grid lines, at least `finest`."""
    spread = max(most - least, 1e-3)
    steps = (size * 10.0**power for power in range(-5, 9) for size in (1, 2, 5))
    step = next(step for step in steps if step * _TICKS >= spread and step >= finest * (1 - 1e-9))
    low = step * (least // step)
    high = low + step
    while high < most:
        high += step
    return low, high, step
