"""A worker's hold on a job: taken by one process, kept up by a sign of life, lost when the job is anybody else's."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from types import TracebackType
from typing import Any, Self
from uuid import UUID, uuid4

from django.db.models import F, Q
from django.utils import timezone

from apps.audit.api import Conflict, advance, transaction
from apps.federation.pipeline.beat import Beat
from apps.federation.pipeline.step import Refusal
from apps.finetune.models import Job
from apps.finetune.pipeline import lease
from apps.finetune.pipeline.finish import end_job, erase_quietly
from apps.finetune.states import JOB_WORKING, JobState
from hospintel_core.failpoints import reach

logger = logging.getLogger(__name__)
WORKER = "system:worker"
BEAT_SECONDS = 2.0
# Loading TensorFlow may hold a process up for seconds.
STALE_SECONDS = 20


class LostError(Exception):
    """The job was cancelled, has ended, or is another worker's: nothing more is to be done here."""


def stale() -> Q:
    """Return the condition that no worker has given a sign of life lately."""
    return Q(seen_at=None) | Q(seen_at__lt=timezone.now() - timedelta(seconds=STALE_SECONDS))


class Claim:
    """One process's hold on a job; a context manager that gives the sign of life from a thread of its own."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.lost = threading.Event()
        self._beat = Beat(f"job {job.pk}", BEAT_SECONDS, self._sign_of_life)

    def __enter__(self) -> Self:
        self._beat.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._beat.__exit__(kind, error, trace)

    def _sign_of_life(self) -> bool:
        try:
            with self._held():
                return True
        except LostError:
            self.lost.set()
            return False

    def _mine(self, **fields: Any) -> None:
        mine = Job.objects.filter(pk=self.job.pk, claim=self.job.claim, state__in=JOB_WORKING)
        if mine.update(seen_at=timezone.now(), **fields) != 1:
            raise LostError

    def tell(self, progress: dict[str, Any]) -> None:
        """Write how far the job is. Raises LostError."""
        if self.lost.is_set():
            raise LostError
        self._mine(progress=progress, progressed_at=timezone.now())

    def move(self, to: JobState, **changes: Any) -> None:
        """Move the job on, or to its end, with further columns. Raises LostError."""
        with self._held():
            advance(self.job, to, actor=WORKER, changes=changes, visibility=self.job.visibility)

    def end(self, to: JobState, *, code: str = "", **changes: Any) -> None:
        """End the job. Raises LostError."""
        with self._held():
            end_job(self.job, to, actor=WORKER, code=code, changes=changes)
            reach("train.before_commit")
        reach("train.committed")
        erase_quietly(self.job.pk)

    @contextmanager
    def _held(self) -> Iterator[None]:
        """A transaction in which the claim and the lease hold."""
        try:
            with transaction():
                self._mine()
                lease.guard(self.job.federation_id, self.job.token)
                yield
        except (Refusal, Conflict) as error:
            raise LostError from error


def take(job_id: UUID) -> Claim | None:
    """Take a job that waits for a worker, or from one that is gone; None where there is nothing to do.

    Whoever calls has the step (`attempts.attempt`): no other process does the job, and one that does has lost it.
    """
    waiting = Job.objects.filter(pk=job_id, state__in=JOB_WORKING)
    if not waiting.update(claim=uuid4(), seen_at=timezone.now(), attempts=F("attempts") + 1):
        return None
    return Claim(Job.objects.select_related("federation", "base", "owner").get(pk=job_id))


def is_waiting(job_id: UUID) -> bool:
    """Return whether a job is still to be done."""
    return Job.objects.filter(pk=job_id, state__in=JOB_WORKING).exists()


def give_up(job_id: UUID) -> None:
    """End a job over which workers have died three times."""
    for job in Job.objects.filter(pk=job_id, state__in=JOB_WORKING):
        with suppress(Conflict), transaction():
            end_job(job, JobState.FAILED, actor=WORKER, code="worker_lost")
        erase_quietly(job_id)


def due() -> list[UUID]:
    """Return the working jobs that no worker gives a sign of life of, each once in a while."""
    waiting = timezone.now() - timedelta(seconds=STALE_SECONDS)
    free = Job.objects.filter(stale(), state__in=JOB_WORKING).filter(Q(queued_at=None) | Q(queued_at__lt=waiting))
    return [pk for pk in free.values_list("pk", flat=True) if free.filter(pk=pk).update(queued_at=timezone.now())]
