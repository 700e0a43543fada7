"""The scans of a job: read, made anew, sealed one by one. No name of a file is kept or told to anybody."""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO
from uuid import UUID, uuid4

from PIL import Image

from apps.audit.api import record, transaction
from apps.federation.pipeline.step import Refusal
from apps.finetune.models import Job, Scan
from apps.finetune.pipeline import lease, vault
from apps.finetune.pipeline.jobs import wrong_state
from apps.finetune.states import JobState
from hospintel_core import bundle, intake
from hospintel_core.errors import CoreError

MOST_SCANS = 2_000
MOST_BYTES = 32 * 1024 * 1024
PREVIEW_PIXELS = 128
_MAGIC = 4


@dataclass(frozen=True)
class Problem:
    """A file that was left out: its place in what was sent (`2`, or `2, entry 5` of a zip file), and why."""

    place: str
    code: str
    detail: str


@dataclass(frozen=True)
class Copy:
    """A file that shows the same as a scan that is here already."""

    place: str
    number: int


@dataclass
class Added:
    """What became of the files that were sent."""

    scans: list[Scan] = field(default_factory=list)
    copies: list[Copy] = field(default_factory=list)
    refused: list[Problem] = field(default_factory=list)


@dataclass(frozen=True)
class _Sealed:
    """A scan that is in the vault and has no row yet."""

    place: str
    scan_id: UUID
    digest: str
    label: int | None
    kind: str
    width: int
    height: int


def label_of(job: Job, name: str) -> int | None:
    """Return the index of a class by its name, None for no name. Raises Refusal(class_unknown, 400)."""
    if not name:
        return None
    if name not in job.federation.classes:
        raise Refusal("class_unknown", f"The classes are {', '.join(job.federation.classes)}.", 400)
    index: int = job.federation.classes.index(name)
    return index


def add(job: Job, files: Iterable[tuple[str, BinaryIO]], *, label: int | None) -> Added:
    """Take scans into a job: single files, and zip files with class folders.

    Args:
        job: a draft of the holder of the lease.
        files: name and content of each; the name is only compared with the content.
        label: the class of the files that no folder names.

    Raises:
        Refusal: `lease_lost` or `job_state` (409).
    """
    # Asked before anything is read, and again when the rows are written.
    with transaction():
        _writable(job)
    done, sealed = Added(), []
    try:
        for place, item in _read(job, files, label):
            if isinstance(item, Problem):
                done.refused.append(item)
            else:
                scan_id = uuid4()
                sealed.append(
                    _Sealed(place, scan_id, item[0].digest, item[1], item[0].kind, item[0].width, item[0].height)
                )
                vault.write(job.pk, scan_id, item[0].png)
        _keep(job, sealed, done)
    except vault.VaultError as error:
        raise wrong_state(job) from error
    finally:
        kept = {scan.pk for scan in done.scans}
        for one in sealed:
            if one.scan_id not in kept:
                vault.remove(job.pk, one.scan_id)
    return done


Item = Problem | tuple[intake.Scan, int | None]


def _read(job: Job, files: Iterable[tuple[str, BinaryIO]], label: int | None) -> Iterator[tuple[str, Item]]:
    for number, (name, file) in enumerate(files, start=1):
        place = str(number)
        try:
            start = file.read(_MAGIC)
            file.seek(0)
            if bundle.is_bundle(start):
                yield from _read_bundle(job, place, file, label)
                continue
            data = file.read(MOST_BYTES + 1)
            if len(data) > MOST_BYTES:
                yield place, Problem(place, "image_too_large", f"A scan has at most {MOST_BYTES >> 20} MiB.")
            else:
                yield place, (intake.read_scan(name, data), label)
        except CoreError as error:
            yield place, Problem(place, error.code, error.detail)


def _read_bundle(job: Job, place: str, file: BinaryIO, label: int | None) -> Iterator[tuple[str, Item]]:
    with bundle.read_bundle(file, job.federation.classes) as entries:
        for entry in entries:
            inner = f"{place}, entry {entry.number}"
            if isinstance(entry, bundle.Refused):
                yield inner, Problem(inner, entry.code, entry.detail)
            else:
                yield inner, (entry.scan, label if entry.label is None else entry.label)


def _keep(job: Job, sealed: list[_Sealed], done: Added) -> None:
    """Write the rows of what was sealed; what is here already, or too much, is told and left out."""
    kept: list[Scan] = []
    with transaction():
        _writable(job)
        known = {scan.digest: scan for scan in Scan.objects.filter(job=job)}
        number = max((scan.number for scan in known.values()), default=0)
        for one in sealed:
            if (same := known.get(one.digest)) is not None:
                _tell_copy(same, one, done)
            elif len(known) >= MOST_SCANS:
                done.refused.append(Problem(one.place, "job_full", f"A job has at most {MOST_SCANS} scans."))
            else:
                number += 1
                scan = Scan(
                    id=one.scan_id,
                    job=job,
                    number=number,
                    digest=one.digest,
                    label=one.label,
                    kind=one.kind,
                    width=one.width,
                    height=one.height,
                )
                known[one.digest] = scan
                kept.append(scan)
        Scan.objects.bulk_create(kept)
        codes = " ".join(sorted({problem.code for problem in done.refused}))[:200]
        record(
            "job.scans",
            actor=job.owner.actor,
            obj=job,
            visibility=job.visibility,
            added=len(kept),
            copies=len(done.copies),
            refused=len(done.refused),
            codes=codes,
        )
    done.scans = kept


def _tell_copy(same: Scan, one: _Sealed, done: Added) -> None:
    if one.label is None or one.label == same.label:
        done.copies.append(Copy(one.place, same.number))
    else:
        detail = f"The same image is scan {same.number}, of another class."
        done.refused.append(Problem(one.place, "conflicting_label", detail))


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
    """Say of which class a scan of a draft is. Raises Refusal: lease_lost or job_state (409)."""
    with transaction():
        _writable(job)
        Scan.objects.filter(pk=scan.pk).update(label=label)
    scan.label = label


def preview(job: Job, scan: Scan) -> bytes:
    """Return a small PNG of a scan, for its owner. Raises VaultError: scan_gone or scan_damaged."""
    with Image.open(io.BytesIO(vault.read(job.pk, scan.pk)), formats=("PNG",)) as image:
        image.thumbnail((PREVIEW_PIXELS, PREVIEW_PIXELS))
        small = io.BytesIO()
        image.save(small, "PNG")
    return small.getvalue()
