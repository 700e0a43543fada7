"""The scans of a job: read, made anew, sealed one by one. No name of a file is kept or told to anybody."""

import io
from functools import partial

from PIL import Image

from apps.audit.api import record, transaction
from apps.federation.pipeline import incoming
from apps.finetune.models import Job, Scan
from apps.finetune.pipeline import lease, vault
from apps.finetune.pipeline.jobs import still_on, wrong_state
from apps.finetune.states import JobState
from hospintel_core.dataset import class_of

MOST_SCANS = 2_000
PREVIEW_PIXELS = 128


def label_of(job: Job, name: str) -> int | None:
    """Return the index of a class by its name, None for no name. Raises Refusal(class_unknown, 400)."""
    return incoming.label_of(job.federation.classes, name)


def label_by_folder(job: Job, folder: str, name: str = "") -> int | None:
    """Return the index of the class that one of the folders of a path names; else of the class that is named by hand.

    Raises:
        Refusal: `class_unknown` (400), of what is named by hand.
    """
    by_hand = label_of(job, name)
    found = [class_of(part, job.federation.classes) for part in folder.split("/")]
    return next((label for label in found if label is not None), by_hand)


def add(job: Job, files: incoming.Files, *, label: int | None) -> incoming.Added:
    """Take scans into a job: single files, and zip files with class folders.

    Args:
        job: a draft of the holder of the lease.
        files: name and content of each; the name is only compared with the content.
        label: the class of the files that no folder names.

    Raises:
        Refusal: `lease_lost` or `job_state` (409), `hub_disk_full` (507).
    """
    # Asked before anything is read, and again when the rows are written.
    with transaction():
        _writable(job)
        still_on(job)
    try:
        return incoming.take(
            vault.JOBS, job.pk, files, classes=job.federation.classes, label=label, keep=partial(_keep, job)
        )
    except vault.VaultError as error:
        raise wrong_state(job) from error


def _keep(job: Job, sealed: list[incoming.Sealed], done: incoming.Added) -> None:
    """Write the rows of what was sealed; what is here already, or too much, is told and left out."""
    with transaction():
        _writable(job)
        still_on(job)
        known = {scan.digest: scan for scan in Scan.objects.filter(job=job)}
        full = ("job_full", f"A job has at most {MOST_SCANS} scans.")
        numbered = incoming.sort_out(sealed, known, done, most=MOST_SCANS, full=full)
        kept = [Scan(job=job, number=number, **one.columns()) for number, one in numbered]
        Scan.objects.bulk_create(kept)
        record(
            "job.scans",
            actor=job.owner.actor,
            obj=job,
            visibility=job.visibility,
            added=len(kept),
            copies=len(done.copies),
            refused=len(done.refused),
            codes=done.codes,
        )
    done.scans = kept


def _writable(job: Job) -> None:
    """Hold on to the lease and to the draft until the commit."""
    lease.guard(job.federation_id, job.token)
    if not Job.objects.filter(pk=job.pk, state=JobState.DRAFT).update(code=""):
        raise wrong_state(job)


def remove(job: Job, scan: Scan) -> None:
    """Take one scan out of a draft. Raises Refusal: lease_lost or job_state (409)."""
    with transaction():
        _writable(job)
        gone, _ = Scan.objects.filter(pk=scan.pk).delete()
        if gone:
            record("job.scan_removed", actor=job.owner.actor, obj=job, visibility=job.visibility, number=scan.number)
    vault.remove(job.pk, scan.pk)


def set_class(job: Job, scan: Scan, label: int | None) -> None:
    """Say of which class a scan of a draft is. Raises Refusal: workbench_off (403); lease_lost or job_state (409)."""
    with transaction():
        _writable(job)
        still_on(job)
        Scan.objects.filter(pk=scan.pk).update(label=label)
    scan.label = label


def preview(job: Job, scan: Scan) -> bytes:
    """Return a small PNG of a scan, for its owner. Raises VaultError: scan_gone or scan_damaged."""
    with Image.open(io.BytesIO(vault.read(job.pk, scan.pk)), formats=("PNG",)) as image:
        image.thumbnail((PREVIEW_PIXELS, PREVIEW_PIXELS))
        small = io.BytesIO()
        image.save(small, "PNG")
    return small.getvalue()
