"""Measure versions on the hub's validation set: one numpy forward pass on features that lie here, no TensorFlow."""

import logging
from dataclasses import dataclass
from uuid import UUID

from django.db import IntegrityError

from apps.audit.api import record, transaction
from apps.federation.models import ModelVersion, ValidationReport, ValidationSet
from apps.federation.pipeline import storage
from apps.federation.pipeline.step import Next
from apps.federation.pipeline.validation import SCANS, fail, features_id, ready
from apps.federation.states import ValidationState, VersionState
from hospintel_core import architectures, training
from hospintel_core.calibration import calibrate
from hospintel_core.errors import CoreError
from hospintel_core.failpoints import reach
from hospintel_core.report import Report
from hospintel_core.validation import Labelled, losses

logger = logging.getLogger(__name__)
WORKER = "system:worker"
# What a verdict begins with that came of the validation set.
ON_SET = "validation set:"


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
    """Return what each version does on a READY set; each head is measured once and what came out is kept.

    Raises:
        UnusableError: the set cannot be read any more.
        CoreError: a head cannot, or computes what is no number.
    """
    rows = ValidationReport.objects.filter(validation_set=found, version__digest__in=[one.digest for one in versions])
    known = {row.version.digest: row.report for row in rows.select_related("version")}
    missing = {version.digest: version for version in versions if version.digest not in known}
    if missing:
        scans, architecture = labelled(found), architectures.get(found.federation.architecture)
        for version in missing.values():
            head = storage.read_head(version.digest, architecture.head_schema)
            known[version.digest] = training.evaluate_head(architecture, head, scans.features, scans.labels)
            _keep(found, version, known[version.digest])
    return [known[version.digest] for version in versions]


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
            record(
                "version.validated",
                actor=WORKER,
                obj=version,
                objects=[found],
                right=report.correct,
                scans=report.n,
            )
            reach("validate.before_commit")
    except IntegrityError:
        logger.info("%s was measured by another worker too", version)


def validate(version_id: UUID) -> list[Next]:
    """Measure a version and the one that it was made from, where there is a set; calibrate what is published.

    Safe to run twice.
    """
    version = ModelVersion.objects.select_related("federation", "parent").get(pk=version_id)
    if judge(version) is not None and version.state == VersionState.PUBLISHED:
        _calibrate(version)
    return []


def _calibrate(version: ModelVersion) -> None:
    """Find the temperature of a published version on the set in use, unless it was found on that very set."""
    found = ready(version.federation_id)
    if found is None or version.calibration.get("set") == found.digest:
        return
    architecture = architectures.get(version.federation.architecture)
    try:
        scans, head = labelled(found), storage.read_head(version.digest, architecture.head_schema)
    except (UnusableError, CoreError) as error:
        logger.warning("%s cannot be calibrated: %s", version, error.code)
        return
    made = calibrate(training.logits(architecture, head, scans.features), scans.labels)
    with transaction():
        ModelVersion.objects.filter(pk=version.pk).update(calibration={**made.to_dict(), "set": found.digest})
        record("version.calibrated", actor=WORKER, obj=version, objects=[found], temperature=f"{made.temperature:.4f}")


@dataclass(frozen=True)
class Judgement:
    """What the gate says of a version, and whether it is to be held for it."""

    verdict: str
    worse: bool


def judge(version: ModelVersion) -> Judgement | None:
    """Compare a version with the one that it was made from, on the validation set; None where there is none.

    It is worse where it names at least two scans fewer right, and more than the federation's `gate_margin` times the
    scans there are: of all scans, or of those of one class (`hospintel_core.validation.losses`). What cannot be
    measured is not let pass.
    """
    found = ready(version.federation_id)
    if found is None:
        return None
    try:
        now, *before = measure(found, [version] if version.parent is None else [version, version.parent])
    except UnusableError as error:
        again = ready(version.federation_id)
        # Replaced in this moment: the next one counts.
        if again is not None and again.pk != found.pk:
            return judge(version)
        return Judgement(f"{ON_SET} it cannot be read any more ({error.code})", worse=True)
    except CoreError as error:
        logger.exception("%s cannot be measured: %s", version, error.code)
        return Judgement(f"{ON_SET} the version cannot be measured ({error.code})", worse=True)
    text = f"{ON_SET} {now.correct} of {now.n} scans right"
    if not before:
        return Judgement(text, worse=False)
    worse = losses(before[0], now, version.federation.gate_margin)
    names = version.federation.classes
    told = [
        f"worse at {architectures.class_word(names[one.label]).lower()}: {one.now} of {one.n}, base {one.before}"
        for one in worse
        if one.label is not None
    ]
    return Judgement("; ".join([f"{text}, base {before[0].correct}", *told]), worse=bool(worse))


def by_hub(version: ModelVersion) -> bool:
    """Return whether a version's verdict comes of the validation set: then no hospital's figure is in it."""
    return version.verdict.startswith(ON_SET)


def reports_of(version: ModelVersion) -> tuple[Report | None, Report | None]:
    """Return what was measured on the newest set on which a version was: with its parent, and with itself."""
    rows = ValidationReport.objects.filter(version__federation=version.federation_id, version__digest=version.digest)
    row = rows.order_by("-validation_set__created_at").first()
    if row is None:
        return None, None
    before = None
    if version.parent is not None:
        same = ValidationReport.objects.filter(validation_set=row.validation_set_id)
        before = same.filter(version__digest=version.parent.digest).first()
    return None if before is None else before.report, row.report


def report_of(version: ModelVersion) -> Report | None:
    """Return what was measured with a version on the set in use; None where it was not."""
    rows = ValidationReport.objects.filter(
        version__digest=version.digest,
        validation_set__federation=version.federation_id,
        validation_set__state=ValidationState.READY,
    )
    row = rows.first()
    return None if row is None else row.report
