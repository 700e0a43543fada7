"""The worker's part of a job: features of the scans, then the head from the chosen version's, measured twice.

Safe to run twice: a second run takes the job only where the first gave no sign of life, and gives the same head.
"""

import logging
import time
from functools import partial
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt

from apps.federation.pipeline import storage
from apps.federation.pipeline.base import backbone
from apps.federation.pipeline.validate import UnusableError, labelled
from apps.federation.pipeline.validation import ready
from apps.finetune.models import Job, Scan
from apps.finetune.pipeline import vault
from apps.finetune.pipeline.claim import Claim, LostError, take
from apps.finetune.states import JobState
from hospintel_core import architectures, dataset, features, training, weights
from hospintel_core.errors import CoreError, TrainingError
from hospintel_core.failpoints import reach
from hospintel_core.plan import Plan
from hospintel_core.report import Report

logger = logging.getLogger(__name__)
PROGRESS_SECONDS = 1.0


def train(job_id: UUID) -> None:
    """Do a job that waits for a worker, or one whose worker died; nothing happens where there is nothing to do."""
    claim = take(job_id)
    if claim is None:
        return
    with claim:
        reach("train.begun")
        try:
            _Training(claim).run()
        except LostError:
            logger.info("job %s was cancelled, or is another worker's", job_id)
        except CoreError as error:
            logger.exception("job %s failed: %s", job_id, error.code)
            _fail(claim, error.code)
        except OSError as error:
            if error.errno not in storage.DISK_FULL:
                raise
            logger.exception("job %s failed: the disk is full", job_id)
            _fail(claim, "hub_disk_full")


def _fail(claim: Claim, code: str) -> None:
    try:
        claim.end(JobState.FAILED, code=code)
    except LostError:
        logger.info("job %s had ended already", claim.job.pk)


class _Training:
    """One attempt."""

    def __init__(self, claim: Claim) -> None:
        self.claim, self.job = claim, claim.job
        self.architecture = architectures.get(self.job.federation.architecture)
        plan = Plan.from_dict(self.job.federation.plan).to_dict()
        self.plan = Plan.from_dict({**plan, "epochs": self.job.epochs})
        self.progress: dict[str, Any] = {}
        self.told_at = 0.0

    def run(self) -> None:
        """Prepare, train, measure, end the job. Raises LostError, CoreError."""
        if self.job.state != JobState.PREPARING:
            self.claim.move(JobState.PREPARING)
        found, mirrored = self._features()
        base = storage.read_head(self.job.base.digest, self.architecture.head_schema)
        self.claim.move(JobState.TRAINING)
        head = self._head(base, found, mirrored)
        # One part a set of scans on which the two were measured.
        report = {"held_out": self._on_held_out(found, base, head), **self._on_hub(base, head)}
        reach("train.trained")
        digest = storage.store_head(weights.dumps(head))
        reach("train.stored")
        self._tell(force=True)
        self.claim.end(JobState.DONE, digest=digest, report=report)

    def _features(self) -> tuple[features.Extracted, features.Extracted | None]:
        """Compute the features of every scan, and of their mirror images where the plan shows those too."""
        views = [False, True] if self.plan.mirror else [False]
        found = []
        for number, mirror in enumerate(views):
            one = features.extract(
                self._dataset(),
                self.architecture,
                partial(backbone, self.architecture.name),
                on_progress=partial(self._prepared, number, len(views)),
                mirror=mirror,
            )
            if one.problems:
                raise TrainingError("no_samples", "A scan of the job cannot be read any more.")
            found.append(one)
        return found[0], found[1] if self.plan.mirror else None

    def _dataset(self) -> dataset.Dataset:
        rows = Scan.objects.filter(job=self.job)
        scans = tuple(
            dataset.Scan(str(row.pk), row.label, partial(vault.read, self.job.pk, row.pk))
            for row in rows
            if row.label is not None
        )
        return dataset.Dataset(scans, lambda: None)

    def _prepared(self, view: int, views: int, done: int, total: int) -> None:
        if self.claim.lost.is_set():
            raise LostError
        self._tell(prepared=view * total + done, of=views * total)
        reach("train.scan_read")

    def _on_held_out(
        self, found: features.Extracted, base: weights.Arrays, head: weights.Arrays
    ) -> dict[str, dict[str, Any]]:
        """Measure both heads on the scans that the training left out."""
        rows = _held_out(found)
        return self._both(base, head, found.features[rows], found.labels[rows])

    def _on_hub(self, base: weights.Arrays, head: weights.Arrays) -> dict[str, dict[str, Any]]:
        """Measure both heads on the hub's validation set, as the part `validation`; no part where there is no set."""
        known = ready(self.job.federation_id)
        if known is None:
            return {}
        try:
            scans = labelled(known)
        except UnusableError as error:
            # The set has been ended for it, and its page says so; the job has what it was asked for.
            logger.warning("job %s is not measured on the validation set: %s", self.job.pk, error.code)
            return {}
        return {"validation": self._both(base, head, scans.features, scans.labels)}

    def _both(
        self, base: weights.Arrays, head: weights.Arrays, rows: training.Floats, labels: npt.NDArray[np.int64]
    ) -> dict[str, dict[str, Any]]:
        evaluate = partial(training.evaluate_head, self.architecture, features=rows, labels=labels)
        return {"before": evaluate(base).to_dict(), "after": evaluate(head).to_dict()}

    def _head(
        self, base: weights.Arrays, found: features.Extracted, mirrored: features.Extracted | None
    ) -> weights.Arrays:
        rows = ~_held_out(found)
        try:
            return training.train_head(
                self.architecture,
                base,
                found.features[rows],
                found.labels[rows],
                self.plan,
                # A job that is done again gives the same head.
                seed=self.job.pk.int % 2**32,
                mirrored=None if mirrored is None else mirrored.features[rows],
                on_epoch=self._epoch_done,
                should_stop=self.claim.lost.is_set,
            )[0]
        except TrainingError as error:
            if error.code == "training_stopped":
                raise LostError from error
            raise

    def _epoch_done(self, result: training.EpochResult) -> None:
        told = {"epoch": result.epoch, "loss": round(result.loss, 4), "accuracy": round(result.accuracy, 4)}
        reach("train.epoch")
        self._tell(epochs=[*self.progress.get("epochs", []), told], of_epochs=self.plan.epochs)

    def _tell(self, *, force: bool = False, **news: Any) -> None:
        self.progress |= news
        if force or time.monotonic() - self.told_at >= PROGRESS_SECONDS:
            self.told_at = time.monotonic()
            self.claim.tell(self.progress)


def _held_out(found: features.Extracted) -> npt.NDArray[np.bool_]:
    """Return which scans (n,) are measured with, not trained on: the fifth that their content chooses."""
    return np.array([dataset.is_validation(digest) for digest in found.digests], dtype=bool)


def measured(job: Job, which: str, part: str = "held_out") -> Report | None:
    """Return what was measured `before` or `after`, on the scans held out or (`validation`) on the hub's."""
    found = job.report.get(part, {}).get(which)
    return None if found is None else Report.from_dict(found, len(job.federation.classes), 1_000_000)
