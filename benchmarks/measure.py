"""Interleaved runs, their medians, and a table."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """Seconds of one case over its runs; `work` is what one run does, in `unit`s."""

    name: str
    seconds: Sequence[float]
    work: float = 0
    unit: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def interleaved(cases: Sequence[tuple[str, Callable[[], object]]], repeats: int) -> list[Row]:
    """Run the cases in turn, so that whatever else the machine does hits all of them; one unmeasured turn first."""
    seconds: list[list[float]] = [[] for _ in cases]
    for turn in range(repeats + 1):
        for (_, run), found in zip(cases, seconds, strict=True):
            began = time.perf_counter()
            run()
            if turn:
                found.append(time.perf_counter() - began)
    return [Row(name, found) for (name, _), found in zip(cases, seconds, strict=True)]


def show(title: str, rows: Sequence[Row]) -> None:
    """Print a table: median, range, ratio to the first row, and what that means a second."""
    print(f"\n{title}")
    width = max(len(row.name) for row in rows)
    print(f"  {'':{width}}   median      min      max   runs  ratio")
    for row in rows:
        times = " ".join(_text(seconds) for seconds in (row.median, min(row.seconds), max(row.seconds)))
        ratio = row.median / rows[0].median if rows[0].median else 0.0
        rate = f"  {row.work / row.median:,.0f} {row.unit}/s" if row.work else ""
        print(f"  {row.name:{width}} {times} {len(row.seconds):6} {ratio:6.2f}{rate}", flush=True)


def _text(seconds: float) -> str:
    return f"{seconds * 1000:6.1f} ms" if abs(seconds) < 1 else f"{seconds:6.2f} s "
