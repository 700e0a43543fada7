"""Measure versions on the hub's validation set: one numpy forward pass on features that lie here, no TensorFlow."""

import logging
from contextlib import suppress
from uuid import UUID

from django.db import IntegrityError

from apps.audit.api import transaction
from apps.federation.models import ModelVersion, ValidationReport, ValidationSet
from apps.federation.pipeline import storage
from apps.federation.pipeline.step import Next
from apps.federation.pipeline.validation import SCANS, fail, features_id, ready
from hospintel_core import architectures, training
from hospintel_core.errors import CoreError
from hospintel_core.report import Report
from hospintel_core.validation import Labelled

logger = logging.getLogger(__name__)


class UnusableError(Exception):
    """The set could not be read, and has been ended for it; `code` says why."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def labelled(found: ValidationSet) -> Labelled:
    """Return the features of a READY set.

    Raises:
        UnusableError: they cannot be read any more.
    """
    try:
        data = SCANS.read(found.pk, features_id(found.digest, found.backbone))
        return Labelled.loads(data, architectures.get(found.federation.architecture))
    except CoreError as error:
        logger.exception("validation set %s cannot be used: %s", found.pk, error.code)
        fail(found, error.code)
        raise UnusableError(error.code) from error


def measure(found: ValidationSet, versions: list[ModelVersion]) -> list[Report]:
    """Return what each version does on a READY set; each is measured once and kept.

    Raises:
        UnusableError: the set cannot be read any more.
        CoreError: a head cannot.
    """
    known = {row.version_id: row.report for row in ValidationReport.objects.filter(validation_set=found)}
    missing = [version for version in versions if version.pk not in known]
    if missing:
        scans, architecture = labelled(found), architectures.get(found.federation.architecture)
        for version in missing:
            head = storage.read_head(version.digest, architecture.head_schema)
            known[version.pk] = training.evaluate_head(architecture, head, scans.features, scans.labels)
            _keep(found, version, known[version.pk])
    return [known[version.pk] for version in versions]


def _keep(found: ValidationSet, version: ModelVersion, report: Report) -> None:
    try:
        with transaction():
            ValidationReport.objects.create(
                version=version,
                validation_set=found,
                confusion=[list(row) for row in report.confusion],
                n=report.n,
                correct=report.correct,
                loss_micro=report.loss_micro,
            )
    except IntegrityError:
        logger.info("%s was measured by another worker too", version)


def validate(version_id: UUID) -> list[Next]:
    """Measure a version, and the one that it was made from, where there is a validation set."""
    version = ModelVersion.objects.select_related("parent").get(pk=version_id)
    found = ready(version.federation_id)
    if found is None:
        return []
    # A set that cannot be read has been ended by the very attempt.
    with suppress(UnusableError):
        measure(found, [version] if version.parent is None else [version, version.parent])
    return []


def report_of(version: ModelVersion) -> ValidationReport | None:
    """Return what was measured with a version on the set in use; None where it was not."""
    rows = ValidationReport.objects.filter(version=version, validation_set__state="READY")
    return rows.select_related("validation_set").first()
