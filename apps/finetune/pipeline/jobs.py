"""Begin a job, send it to the worker, cancel it, propose what came of it: what its owner does."""

from datetime import timedelta

from django.db import IntegrityError
from django.utils import timezone

from apps.accounts.models import Hospital, User
from apps.accounts.roles import may
from apps.audit.api import Conflict, advance, record, transaction
from apps.federation.models import Federation, ModelVersion
from apps.federation.pipeline import propose as proposals
from apps.federation.pipeline.membership import participations_of, require_member
from apps.federation.pipeline.step import Next, Refusal
from apps.federation.states import VersionState
from apps.finetune.models import Job, Scan
from apps.finetune.pipeline import lease, vault
from apps.finetune.pipeline.finish import end_job, erase_quietly
from apps.finetune.states import JobState
from hospintel_core.dataset import is_validation

MOST_EPOCHS = 20
# Of each class, to train on: fewer say nothing about a class.
LEAST_OF_CLASS = 3


def hospital_of(user: User, federation: Federation) -> Hospital | None:
    """Return the hospital for which a person uses the workbench; None for an administrator.

    Raises:
        Refusal: `not_a_member` (403), or `workbench_off` (403) where no hospital of theirs (of anybody's, for an
            administrator) has it on.
    """
    require_member(user, federation)
    on = participations_of(user, federation).filter(workbench=True)
    first = on.select_related("hospital").order_by("hospital__name").first()
    if first is None:
        raise workbench_off()
    return None if may(user, "see_every_hospital") else first.hospital


def still_on(job: Job) -> None:
    """Ask again what was asked at a job's beginning. Raises Refusal(workbench_off, 403) where it was switched off."""
    on = job.federation.participations.filter(workbench=True)
    if job.hospital_id:
        on = on.filter(hospital=job.hospital_id)
    if not on.exists():
        raise workbench_off()


def workbench_off() -> Refusal:
    """Return the refusal of what needs the workbench."""
    detail = "The workbench is off for your hospital. An administrator switches it on, on the hospital's page."
    return Refusal("workbench_off", detail, 403)


def base_of_number(federation: Federation, number: int) -> ModelVersion:
    """Return the version with this number, from which a job may start. Raises Refusal(base_unknown, 409)."""
    found = federation.versions.filter(number=number, state=VersionState.PUBLISHED).first()
    if found is None:
        raise Refusal("base_unknown", "There is no such version.", 409)
    return found


def create(user: User, federation: Federation, *, base: ModelVersion | None = None) -> Job:
    """Begin a job from a published version; the current one where none is named.

    Raises:
        Refusal: `not_a_member` or `workbench_off` (403); `lease_lost`, `job_active` or `base_unknown` (409);
            `hub_disk_full` (507).
    """
    hospital = hospital_of(user, federation)
    base = base or federation.current
    if base is None or base.federation_id != federation.pk or base.state != VersionState.PUBLISHED:
        raise Refusal("base_unknown", "A job starts from a published version of its federation.", 409)
    job = Job(federation=federation, owner=user, hospital=hospital, base=base)
    vault.create(job.pk)
    try:
        with transaction():
            job.token = lease.held_by(user, federation).token
            job.save(force_insert=True)
            record("job.create", actor=user.actor, obj=job, objects=[base], visibility=job.visibility)
    except BaseException as error:
        vault.erase(job.pk)
        if isinstance(error, IntegrityError):
            raise Refusal(
                "job_active", "A job of this federation is active. Cancel it or wait for its end.", 409
            ) from error
        raise
    return job


def fine_tune(job: Job, *, epochs: int, propose: bool = False, note: str = "") -> None:
    """Send a job to the worker, once it is known that its scans are enough.

    Args:
        job: a draft.
        epochs: 1 to 20.
        propose: whether what it trains is proposed as soon as it is done (`propose_done.py`).
        note: what the reviewer should know then, at most 200 characters.

    Raises:
        Refusal: `epochs_range`, `note_long`, `scan_without_class`, `class_missing`, `scans_few` or `held_out_empty`
            (400); `workbench_off` (403); `lease_lost` or `job_state` (409).
    """
    if not 1 <= epochs <= MOST_EPOCHS:
        raise Refusal("epochs_range", f"A job has 1 to {MOST_EPOCHS} epochs.", 400)
    note = proposals.tidied(note)
    try:
        with transaction():
            lease.guard(job.federation_id, job.token)
            still_on(job)
            counts = _counted(job)
            changes = {"epochs": epochs, "counts": counts, "propose": propose, "note": note}
            advance(
                job,
                JobState.QUEUED,
                actor=job.owner.actor,
                changes=changes,
                visibility=job.visibility,
                epochs=epochs,
                propose=propose,
                scans=sum(map(sum, counts.values())),
            )
    except Conflict as error:
        raise wrong_state(job) from error


def _counted(job: Job) -> dict[str, list[int]]:
    """Return class -> [scans to train on, scans held out], if they are enough."""
    names = job.federation.classes
    counts: dict[str, list[int]] = {name: [0, 0] for name in names}
    for number, digest, label in Scan.objects.filter(job=job).values_list("number", "digest", "label"):
        if label is None:
            raise Refusal("scan_without_class", f"Scan {number} has no class yet.", 400)
        counts[names[label]][is_validation(digest)] += 1
    missing = [name for name, found in counts.items() if not sum(found)]
    if missing:
        detail = f"There is no scan of {', '.join(missing)}: the model would forget what it looks like."
        raise Refusal("class_missing", detail, 400)
    few = [name for name, found in counts.items() if found[0] < LEAST_OF_CLASS]
    if few:
        detail = (
            f"Each class needs at least {LEAST_OF_CLASS} scans to train on; about a fifth of all is held out to "
            f"measure with. Add scans of {', '.join(few)}."
        )
        raise Refusal("scans_few", detail, 400)
    if not any(held for _, held in counts.values()):
        detail = "None of these scans falls into the part that is held out to measure with. Add some."
        raise Refusal("held_out_empty", detail, 400)
    return counts


def cancel(job: Job, *, actor: str) -> None:
    """Cancel a job before its end; its scans are deleted. Raises Refusal(job_state, 409)."""
    try:
        with transaction():
            end_job(job, JobState.CANCELLED, actor=actor, code="cancelled")
    except Conflict as error:
        raise wrong_state(job) from error
    erase_quietly(job.pk)


def propose(job: Job, *, note: str = "") -> tuple[ModelVersion, list[Next]]:
    """Propose what a job trained; its owner needs the lease for it, this one or a later one.

    Raises:
        Refusal: `not_a_member` or `workbench_off` (403), `job_state` or `lease_lost` (409), and those of
            `apps.federation.pipeline.propose`.
    """
    if job.state != JobState.DONE:
        raise wrong_state(job)

    def also(version: ModelVersion) -> None:
        lease.held_by(job.owner, job.federation)
        still_on(job)
        changes = {"version": version, "not_proposed": ""}
        advance(job, JobState.PROPOSED, actor=job.owner.actor, changes=changes, visibility=job.visibility)

    try:
        return proposals.propose(
            job.federation,
            digest=job.digest,
            source=ModelVersion.Source.FINE_TUNE,
            parent=job.base,
            author=job.owner,
            note=note,
            # What the hub's validation set says is measured anew, on the set that is there by then.
            report={part: job.report[part] for part in proposals.PARTS},
            also=also,
        )
    except Conflict as error:
        raise wrong_state(job) from error


def wrong_state(job: Job) -> Refusal:
    """Return the refusal of what a job's state does not allow (any more)."""
    job.refresh_from_db(fields=["state", "code"])
    return Refusal("job_state", f"The job is {job.state}.", 409)


def end_old_jobs(hours: int) -> None:
    """Cancel the jobs that began so many hours ago and have not ended."""
    limit = timezone.now() - timedelta(hours=hours)
    for job in Job.objects.filter(created_at__lt=limit, ended_at=None):
        try:
            with transaction():
                end_job(job, JobState.CANCELLED, actor="system:tick", code="job_old")
        except Conflict:
            # It has ended or moved on in this moment: the next look finds it, if it is still there.
            continue
