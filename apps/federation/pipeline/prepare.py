"""The training worker's part of a validation set: the features of its scans, sealed beside them. Safe to run twice."""

import logging
import time
from functools import partial
from typing import Any
from uuid import UUID

from django.utils import timezone

from apps.audit.api import Conflict, advance, transaction
from apps.federation.models import Federation, ValidationScan, ValidationSet
from apps.federation.pipeline import storage
from apps.federation.pipeline.attempts import promise
from apps.federation.pipeline.base import backbone
from apps.federation.pipeline.step import Next
from apps.federation.pipeline.validation import SCANS, end, enough_to_compare, erase_quietly, fail, features_id
from apps.federation.states import ValidationState, VersionState
from hospintel_core import architectures, dataset, domain, features
from hospintel_core.errors import CoreError, TrainingError
from hospintel_core.failpoints import reach
from hospintel_core.validation import Labelled

logger = logging.getLogger(__name__)
WORKER = "system:worker"
PROGRESS_SECONDS = 1.0


class _EndedError(Exception):
    """The set was deleted while its features were computed."""


def prepare_validation(set_id: UUID) -> list[Next]:
    """Compute the features of a PREPARING set and make it READY; nothing happens in another state.

    Returns:
        The measuring of the current version, and of those that wait for review.
    """
    found = ValidationSet.objects.select_related("federation").get(pk=set_id)
    if found.state != ValidationState.PREPARING:
        return []
    reach("prepare.begun")
    try:
        made = _features(found)
        SCANS.write(found.pk, features_id(found.digest, made.backbone), made.labelled.dumps())
        reach("prepare.kept")
        looks = _domain(found, made.labelled)
    except _EndedError:
        logger.info("validation set %s was deleted", set_id)
        return []
    except CoreError as error:
        logger.exception("validation set %s cannot be prepared: %s", set_id, error.code)
        fail(found, error.code)
        return []
    except OSError as error:
        if error.errno not in storage.DISK_FULL:
            raise
        logger.exception("validation set %s cannot be prepared: the disk is full", set_id)
        fail(found, "hub_disk_full")
        return []
    return _put_to_use(found, {"backbone": made.backbone, "domain": looks})


def _domain(found: ValidationSet, labelled: Labelled) -> dict[str, Any]:
    """Return what the set's scans look like, as a page can have it; nothing where they are too few to tell."""
    if not enough_to_compare(found.counts):
        return {}
    architecture = architectures.get(found.federation.architecture)
    summaries = domain.summary(architecture, labelled.features)
    return domain.fit(summaries, labelled.labels, architecture.classes).to_dict()


class _Made:
    """Features, and the digest of the base that made them."""

    def __init__(self, labelled: Labelled, base: str) -> None:
        self.labelled, self.backbone = labelled, base


def _features(found: ValidationSet) -> _Made:
    base = backbone(found.federation.architecture)
    rows = ValidationScan.objects.filter(validation_set=found)
    scans = tuple(dataset.Scan(str(row.pk), row.label, partial(SCANS.read, found.pk, row.pk)) for row in rows)
    made = features.extract(
        dataset.Dataset(scans, lambda: None),
        architectures.get(found.federation.architecture),
        lambda: base,
        on_progress=_Sign(found),
    )
    if made.problems:
        raise TrainingError("no_samples", "A scan of the validation set cannot be read any more.")
    return _Made(Labelled(made.features, made.labels), base.digest)


class _Sign:
    """Tells how far it is."""

    def __init__(self, found: ValidationSet) -> None:
        self.found, self.told_at = found, 0.0

    def __call__(self, done: int, total: int) -> None:
        if done < total and time.monotonic() - self.told_at < PROGRESS_SECONDS:
            return
        self.told_at = time.monotonic()
        mine = ValidationSet.objects.filter(pk=self.found.pk, state=ValidationState.PREPARING)
        if not mine.update(prepared=done):
            raise _EndedError


def _put_to_use(found: ValidationSet, made: dict[str, Any]) -> list[Next]:
    replaced: list[UUID] = []
    try:
        with transaction():
            for old in ValidationSet.objects.filter(federation=found.federation_id, state=ValidationState.READY):
                end(old, ValidationState.REPLACED, actor=WORKER)
                replaced.append(old.pk)
            changes = {**made, "ready_at": timezone.now()}
            advance(found, ValidationState.READY, actor=WORKER, changes=changes, scans=found.total)
            unmeasured = _shown_versions(found.federation_id)
            promise("validate", unmeasured)
            reach("prepare.before_commit")
    except Conflict:
        logger.info("validation set %s was deleted, or is another worker's", found.pk)
        return []
    reach("prepare.committed")
    for pk in replaced:
        erase_quietly(pk)
    return [Next("validate", pk) for pk in unmeasured]


def _shown_versions(slug: str) -> list[UUID]:
    """Return the versions whose figures people look at: the current one, and those that wait for review."""
    federation = Federation.objects.get(pk=slug)
    waiting = federation.versions.filter(state=VersionState.HELD).values_list("pk", flat=True)
    current = [] if federation.current_id is None else [federation.current_id]
    return [*current, *waiting]
