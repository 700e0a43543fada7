"""The end of a job, however it ends: its scans go within seconds, and the audit says so."""

import logging
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.utils import timezone

from apps.audit.api import Conflict, advance, record, transaction
from apps.finetune.models import Job, Scan
from apps.finetune.pipeline import vault
from apps.finetune.states import JOB_ACTIVE, JobState
from hospintel_core.errors import KeyFileError
from hospintel_core.failpoints import reach

logger = logging.getLogger(__name__)
SYSTEM = "system:workbench"
# A job has its key a moment before its row.
FRESH_SECONDS = 60


def end_job(job: Job, to: JobState, *, actor: str, code: str = "", changes: Mapping[str, object] | None = None) -> None:
    """Move an active job to its end, inside the caller's transaction; its scans go after the commit, by the tick.

    Raises:
        Conflict: it has ended, or moved on, in the meantime.
    """
    facts: dict[str, Any] = {"code": code} if code else {}
    ended = {**(changes or {}), "code": code, "ended_at": timezone.now(), "claim": None}
    advance(job, to, actor=actor, changes=ended, visibility=job.visibility, **facts)


def end_jobs_of_lease(federation_slug: str, token: int, *, actor: str) -> None:
    """Cancel what is active under a lease that ends, inside the transaction that ends it."""
    active = Job.objects.filter(federation=federation_slug, token=token, state__in=JOB_ACTIVE)
    while (job := active.first()) is not None:
        try:
            with transaction():
                end_job(job, JobState.CANCELLED, actor=actor, code="lease_lost")
        except Conflict:
            # Its worker moved it on in this moment: look again.
            continue


def erase(job_id: UUID) -> None:
    """Delete the key and the scans of a job that has ended. Safe to call again.

    Raises:
        OSError, KeyFileError: the disk refuses.
    """
    vault.erase(job_id)
    reach("erase.scans_gone")
    with transaction():
        if Job.objects.filter(pk=job_id, erased_at=None).exclude(state__in=JOB_ACTIVE).update(erased_at=timezone.now()):
            job = Job.objects.get(pk=job_id)
            scans, _ = Scan.objects.filter(job=job_id).delete()
            record("job.erase", actor=SYSTEM, obj=job, visibility=job.visibility, scans=scans)


def erase_quietly(job_id: UUID) -> None:
    """Delete them; where the disk refuses, the tick tries again."""
    try:
        erase(job_id)
    except (OSError, KeyFileError):
        logger.exception("the scans of job %s cannot be deleted; trying again", job_id)


def ended() -> set[UUID]:
    """Return the jobs that have ended and have scans."""
    return set(Job.objects.filter(erased_at=None).exclude(state__in=JOB_ACTIVE).values_list("pk", flat=True))


def left_over(now: float) -> set[UUID]:
    """Return whose keys and scans are here of what never came to be a job, or was to be gone."""
    kept = vault.kept(now - FRESH_SECONDS)
    return kept - set(Job.objects.filter(pk__in=kept, state__in=JOB_ACTIVE).values_list("pk", flat=True))
