"""What a page says of versions beside their figures: who decided, and what a proposal's job measured."""

from collections.abc import Iterable
from dataclasses import dataclass

from apps.accounts.models import User
from apps.accounts.roles import may
from apps.federation.figures import Share, share
from apps.federation.models import ModelVersion
from apps.federation.news import names_of
from apps.federation.queries import VersionRow
from hospintel_core.report import Report

_PARTS = {"held_out": "scans that the job held out", "validation": "the hub's validation set"}


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
    """Return what a proposal's job measured, for its author and for those who decide: the scans are a hospital's."""
    if version.author_id != reader.pk and not may(reader, "review_models"):
        return []
    return [
        Part(said, _lines(version.report[name], version.federation.classes))
        for name, said in _PARTS.items()
        if name in version.report
    ]


def _lines(part: dict[str, dict[str, object]], classes: list[str]) -> tuple[Line, ...]:
    shares = {}
    for model, value in part.items():
        # Checked when it was proposed.
        confusion = Report.from_dict(value, len(classes), 10**9).confusion
        rows = [(row[number], sum(row)) for number, row in enumerate(confusion)]
        shares[model] = [share(sum(right for right, _ in rows), sum(n for _, n in rows))]
        shares[model] += [share(right, n) for right, n in rows]
    names = ["All", *(name.capitalize() for name in classes)]
    before, after = (shares.get(model, [None] * len(names)) for model in ("before", "after"))
    return tuple(Line(*line) for line in zip(names, before, after, strict=True))


def deciders(rows: Iterable[VersionRow], reader: User) -> list[tuple[VersionRow, str]]:
    """Return each row with whoever published it, as this reader may know them; empty where no person did."""
    found = list(rows)
    people = {row.version.decided_by for row in found if row.version.decided_by.startswith(("user:", "command:"))}
    names = names_of(people, reader)
    return [(row, names.get(row.version.decided_by, "")) for row in found]
