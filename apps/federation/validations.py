"""What pages and calls tell of validation sets, and of what was measured on them."""

from collections.abc import Mapping
from dataclasses import dataclass

from apps.federation.figures import VersionFigures, figures_of
from apps.federation.models import Federation, ModelVersion, ValidationSet
from apps.federation.pipeline.validate import report_of, reports_of
from apps.federation.pipeline.validation import LEAST_OF_CLASS, counts_of, enough_to_compare
from apps.federation.states import VALIDATION_COMING, VALIDATION_LIVE, ValidationState

SHOWN = 20
# Why a set failed, for people; the code stands beside it.
WHY: Mapping[str, str] = {
    "hub_disk_full": "The hub's disk is full. Make room; bring the scans again.",
    "base_weights_missing": "The worker has no weights of the base. See docs/operations.md; bring the scans again.",
    "scan_gone": "Its scans or their key are gone from the hub's disk, as after a restore. Bring the scans again.",
    "scan_damaged": "A file of it is damaged on the hub's disk. Bring the scans again.",
}


@dataclass(frozen=True)
class SetRow:
    """A set with its scans by class, and why it failed."""

    found: ValidationSet
    counts: Mapping[str, int]
    why: str

    @property
    def total(self) -> int:
        """Return how many scans it has, or had."""
        return sum(self.counts.values())

    @property
    def enough(self) -> bool:
        """Return whether each class has the scans that it needs."""
        return min(self.counts.values()) >= LEAST_OF_CLASS

    @property
    def compares(self) -> bool:
        """Return whether the page Analyse compares scans with it, or will when it is in use."""
        if self.found.state == ValidationState.READY:
            return bool(self.found.domain)
        return not self.few

    @property
    def few(self) -> bool:
        """Return whether it has too few scans of a class to compare others with."""
        return not enough_to_compare(self.counts)


@dataclass(frozen=True)
class Sets:
    """A federation's sets: the one in use, the one on its way, and those that have ended, newest first."""

    ready: SetRow | None
    coming: SetRow | None
    ended: list[SetRow]


def row(found: ValidationSet) -> SetRow:
    """Return what is told of a set."""
    why = WHY.get(found.code, f"It could not be prepared ({found.code}).") if found.code else ""
    return SetRow(found, counts_of(found), why)


def of(federation: Federation) -> Sets:
    """Return what is told of a federation's sets."""
    found = federation.validation_sets.select_related("federation", "author").order_by("-created_at")
    live = {one.state: one for one in found.filter(state__in=VALIDATION_LIVE)}
    ready = live.get(ValidationState.READY)
    coming = next((one for state, one in live.items() if state in VALIDATION_COMING), None)
    return Sets(
        ready=None if ready is None else row(ready),
        coming=None if coming is None else row(coming),
        ended=[row(one) for one in found.exclude(state__in=VALIDATION_LIVE)[:SHOWN]],
    )


def measured(federation: Federation) -> VersionFigures | None:
    """Return what the current version does on the set in use; None where that was not measured."""
    found = None if federation.current is None else report_of(federation.current)
    return None if found is None else figures_of(found, federation.classes, hub=True)


def measured_on_hub(version: ModelVersion) -> VersionFigures | None:
    """Return what a version did on the newest validation set on which it was measured; None where it never was."""
    return figures_of(reports_of(version)[1], version.federation.classes, hub=True)
