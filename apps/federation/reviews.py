"""What a page says of versions beside their figures: who decided, and what a proposal's job measured."""

from collections.abc import Iterable
from dataclasses import dataclass

from apps.accounts.models import User
from apps.accounts.roles import may
from apps.federation.figures import Share, share
from apps.federation.models import ModelVersion
from apps.federation.news import names_of
from apps.federation.pipeline.validate import reports_of
from apps.federation.queries import VersionRow
from hospintel_core.architectures import class_word
from hospintel_core.report import Report

HELD_OUT, ON_SET = "scans that the job held out", "the hub's validation set"


@dataclass(frozen=True)
class Line:
    """All scans, or those of one class: by the version it was made from, and by the proposal."""

    name: str
    before: Share | None
    after: Share | None


@dataclass(frozen=True)
class Part:
    """One set of scans on which a proposal was measured."""

    name: str
    lines: tuple[Line, ...]


def parts(version: ModelVersion, reader: User) -> list[Part]:
    """Return what a version's job and the hub measured, with what it was made from beside it.

    What the job held out is a hospital's: that part is for the author and for those who decide.
    """
    classes = version.federation.classes
    found = []
    if "held_out" in version.report and (version.author_id == reader.pk or may(reader, "review_models")):
        # Checked when it was proposed.
        held_out = {
            name: Report.from_dict(one, len(classes), 10**9) for name, one in version.report["held_out"].items()
        }
        found.append(Part(HELD_OUT, _lines(held_out.get("before"), held_out.get("after"), classes)))
    before, after = reports_of(version)
    if after is not None:
        found.append(Part(ON_SET, _lines(before, after, classes)))
    return found


def _lines(before: Report | None, after: Report | None, classes: list[str]) -> tuple[Line, ...]:
    names = ["All", *map(class_word, classes)]
    shares = [_shares(report) if report else [None] * len(names) for report in (before, after)]
    return tuple(Line(*line) for line in zip(names, *shares, strict=True))


def _shares(report: Report) -> list[Share | None]:
    hits = [row[number] for number, row in enumerate(report.confusion)]
    return [share(report.correct, report.n), *map(share, hits, map(sum, report.confusion))]


def deciders(rows: Iterable[VersionRow], reader: User) -> list[tuple[VersionRow, str]]:
    """Return each row with whoever published it, as this reader may know them; empty where no person did."""
    found = list(rows)
    people = {row.version.decided_by for row in found if row.version.decided_by.startswith(("user:", "command:"))}
    names = names_of(people, reader)
    return [(row, names.get(row.version.decided_by, "")) for row in found]
