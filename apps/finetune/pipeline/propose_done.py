"""What its owner asked for when they sent a job off: once it is DONE it is proposed, by nobody's hand.

Safe to run twice: `jobs.propose` moves a job on once, and a refusal is noted once. A worker that dies between the end
of the training and the proposal loses nothing: the job still waits, and the tick finds it.
"""

from datetime import timedelta
from uuid import UUID

from django.db.models import Q
from django.utils import timezone

from apps.audit.api import record, transaction
from apps.federation.pipeline.step import Next, Refusal
from apps.finetune.models import Job
from apps.finetune.pipeline import jobs
from apps.finetune.pipeline.claim import WORKER
from apps.finetune.states import JobState
from hospintel_core.failpoints import reach

QUEUED_SECONDS = 15
WAITING = Q(state=JobState.DONE, propose=True, not_proposed="")


def propose_done(job_id: UUID) -> list[Next]:
    """Propose what a job trained, if that still waits; or note why it is refused: then its owner may propose by hand.

    Whether the owner may (role, hospital, workbench, lease) is asked now, as when they press the button.

    Raises:
        StorageError, StorageAwayError, WeightsError: the head cannot be read; the tick tries again.
    """
    job = Job.objects.select_related("federation", "owner", "base").filter(WAITING, pk=job_id).first()
    if job is None:
        return []
    reach("propose_job.begun")
    try:
        return jobs.propose(job, note=job.note)[1]
    except Refusal as refusal:
        _refused(job, refusal.code)
    return []


def _refused(job: Job, code: str) -> None:
    with transaction():
        # Its owner may have proposed it in this moment.
        if Job.objects.filter(WAITING, pk=job.pk).update(not_proposed=code):
            visibility = job.visibility
            record("job.not_proposed", actor=WORKER, obj=job, outcome="refused", visibility=visibility, code=code)


def is_waiting(job_id: UUID) -> bool:
    """Return whether a job is done and still to be proposed."""
    return Job.objects.filter(WAITING, pk=job_id).exists()


def give_up(job_id: UUID) -> None:
    """Leave it to its owner after three workers died, or failed, over the proposal."""
    for job in Job.objects.filter(WAITING, pk=job_id):
        _refused(job, "stuck")


def due() -> list[UUID]:
    """Return the jobs whose proposal no worker has begun, each once in a while."""
    now = timezone.now()
    late = now - timedelta(seconds=QUEUED_SECONDS)
    rows = Job.objects.filter(WAITING, Q(queued_at=None) | Q(queued_at__lte=late), ended_at__lte=late)
    return [pk for pk in list(rows.values_list("pk", flat=True)) if rows.filter(pk=pk).update(queued_at=now)]
