"""What must hold after a run whatever died in it: counted in the hub's database, its folders and its audit.

These functions run in the administrator's process (tests/flows/office.py); plain values travel.
"""

# ruff: noqa: PLC0415 - in the test process, models must not be imported

from collections import Counter

ADMIN = "system:chaos"


def back_to_the_seed(slug: str) -> None:
    """Let the federation's current model be its first one again, so that a run gives the digests of the one before."""
    from apps.federation.models import Federation
    from apps.federation.pipeline.rollback import rollback
    from apps.federation.tasks import enqueue

    federation = Federation.objects.select_related("current").get(pk=slug)
    first = federation.versions.get(number=1)
    if federation.current.digest != first.digest:
        enqueue(rollback(first, actor=ADMIN)[1])


def end_runs(slug: str) -> None:
    """Abort what is left of a scenario that failed."""
    from apps.federation.models import Run
    from apps.federation.pipeline import runs
    from apps.federation.states import RUN_ACTIVE
    from apps.federation.tasks import enqueue

    for run in Run.objects.filter(federation=slug, state__in=RUN_ACTIVE):
        enqueue(runs.abort(run, actor=ADMIN))


def digests(run_id: str) -> list[str]:
    """Digests of the versions that a run made, oldest first."""
    from apps.federation.models import ModelVersion

    return list(ModelVersion.objects.filter(round__run=run_id).order_by("number").values_list("digest", flat=True))


def violations(run_id: str, agents: int, wanted: list[str]) -> list[str]:
    """What does not hold of a run that is done; `wanted` are the digests of a run without faults."""
    found = [*_rounds(run_id, agents), *_updates(run_id), *_versions(run_id)]
    if (made := digests(run_id)) != wanted:
        found.append(f"digests {made} and not {wanted}")
    from apps.audit.api import verify

    if not (result := verify()).ok:
        found.append(f"the audit does not hold: {result}")
    return found


def _rounds(run_id: str, agents: int) -> list[str]:
    from apps.federation.models import Round, Run

    rounds = list(Round.objects.filter(run=run_id).order_by("opened_at"))
    told = [(one.number, one.attempt, one.state, one.reason) for one in rounds]
    wanted = [(number, 1, "PUBLISHED", "") for number in range(1, Run.objects.get(pk=run_id).rounds + 1)]
    found = [] if told == wanted else [f"rounds {told}"]
    for one in rounds:
        consumed = Counter(one.updates.filter(state="CONSUMED").values_list("agent", flat=True))
        if len(consumed) != agents or set(consumed.values()) != {1}:
            found.append(f"round {one.number}: {dict(consumed)} consumed")
        if one.updates.exclude(state__in=["CONSUMED", "REFUSED"]).exists():
            found.append(f"round {one.number} has ended and has undecided updates")
    return found


def _updates(run_id: str) -> list[str]:
    """Each update that was accepted was consumed once, by the audit as by the rows."""
    from apps.audit.models import AuditEntry
    from apps.federation.models import Update

    rows = dict(Update.objects.filter(round__run=run_id).values_list("pk", "state"))
    names = {f"update:{pk}": state for pk, state in rows.items()}
    entries = Counter(AuditEntry.objects.filter(object__in=names).values_list("object", "action"))
    found = []
    for name, state in names.items():
        counts = {verb: entries[name, f"update.{verb}"] for verb in ("received", "accepted", "consumed")}
        if counts["accepted"] and (state != "CONSUMED" or counts != {"received": 1, "accepted": 1, "consumed": 1}):
            found.append(f"{name} is {state}, and by the audit {counts}")
    return found


def _versions(run_id: str) -> list[str]:
    """No version is half published: number, entry, file and the federation's pointer go together."""
    from apps.audit.feed import as_event
    from apps.audit.models import AuditEntry
    from apps.federation.models import Run
    from apps.federation.pipeline import storage
    from hospintel_core import weights

    federation = Run.objects.select_related("federation__current").get(pk=run_id).federation
    rows = {f"version:{one.pk}": one for one in federation.versions.all()}
    numbers = sorted(one.number for one in rows.values() if one.number)
    found = [] if numbers == list(range(1, len(numbers) + 1)) else [f"numbers {numbers}"]
    told: Counter[tuple[str, int]] = Counter()
    for entry in AuditEntry.objects.filter(object__in=rows, action="version.published"):
        told[entry.object, as_event(entry)["facts"]["number"]] += 1
    published = Counter((name, one.number) for name, one in rows.items() if one.number)
    if told != published:
        found.append(f"published {published - told} without an entry, {told - published} by entries alone")
    found += [f"{name} is still a candidate" for name, one in rows.items() if one.state == "CANDIDATE"]
    for digest in {one.digest for one in rows.values()}:
        there = storage.find_head(digest)
        if there is None or weights.digest(storage.models().get(there.name)) != digest:
            found.append(f"the head {digest} is not there")
    if federation.current.number != numbers[-1]:
        found.append(f"version {federation.current.number} is current, and {numbers[-1]} the newest")
    return found


def left_over(run_id: str, slug: str) -> list[str]:
    """What goes within seconds after the end: ciphertexts, round keys; and what is written by then."""
    import office

    from apps.federation.models import Federation
    from apps.federation.pipeline import model_files
    from apps.federation.pipeline.export_model import Export

    digest = Federation.objects.get(pk=slug).current.digest
    missing = [] if model_files.Written.of(digest) else ["the model file"]
    missing += [] if Export.of(digest) else ["the model for the page"]
    return office.what_is_left(run_id) + missing


def job_violations(job: str, scans: int, wanted: str) -> list[str]:
    """What does not hold of a fine-tuning job that was proposed; `wanted` is its head's digest without faults."""
    from apps.audit.api import verify
    from apps.audit.models import AuditEntry
    from apps.federation.models import ModelVersion
    from apps.finetune.models import Job, Scan

    row = Job.objects.select_related("version").get(pk=job)
    entries = Counter(AuditEntry.objects.filter(object=f"job:{job}").values_list("action", flat=True))
    found = [
        f"{name} {entries[name]} times" for name in ("job.done", "job.erase", "job.proposed") if entries[name] != 1
    ]
    if (row.state, row.digest) != ("PROPOSED", wanted):
        found.append(f"the job is {row.state} with {row.digest} and not {wanted}")
    if ModelVersion.objects.filter(digest=row.digest).count() != 1:
        found.append("not one version of it")
    if Scan.objects.filter(job=job).exists() or row.erased_at is None:
        found.append(f"of {scans} scans some are left")
    if not verify().ok:
        found.append("the audit does not hold")
    return found


def live_uploads() -> int:
    """How many uploaded models wait for a worker."""
    from apps.finetune.models import ModelUpload
    from apps.finetune.states import MODEL_UPLOAD_LIVE

    return ModelUpload.objects.filter(state__in=MODEL_UPLOAD_LIVE).count()


def upload_violations(digest: str) -> list[str]:
    """What does not hold of a model that was handed in: it waits for review, once; then it is rejected."""
    from apps.audit.models import AuditEntry
    from apps.federation.models import ModelVersion
    from apps.federation.pipeline.review import reject

    rows = list(ModelVersion.objects.filter(digest=digest, source="UPLOAD"))
    found = [] if [one.state for one in rows] == ["HELD"] else [f"versions of it: {[one.state for one in rows]}"]
    for one in rows:
        entries = AuditEntry.objects.filter(object=f"version:{one.pk}", action="version.propose").count()
        found += [] if entries == 1 else [f"proposed {entries} times"]
        reject(one, actor=ADMIN, reason="chaos")
    return found


def use_validation_set(seed: int) -> str:
    """Bring a validation set and have it prepared; returns its id."""
    import io

    import validating

    from apps.accounts.models import Role, User
    from apps.federation.models import Federation
    from apps.federation.pipeline import validation
    from apps.federation.tasks import enqueue

    admin = User.objects.filter(username="chaos-admin").first() or User.objects.create_user(
        "chaos-admin", role=Role.ADMIN
    )
    files = [("scans.zip", io.BytesIO(validating.zipped(seed=seed)))]
    found, _ = validation.add(admin, Federation.objects.get(pk="brain-mri"), files, label=None)
    enqueue(validation.use(found, actor=ADMIN))
    return str(found.pk)


def set_is_measured(pk: str) -> bool:
    """Whether the set is in use, and the current version was measured on it."""
    from apps.federation.models import ValidationReport, ValidationSet

    ready = ValidationSet.objects.filter(pk=pk, state="READY").exists()
    return ready and ValidationReport.objects.filter(validation_set=pk).exists()


def set_violations(pk: str) -> list[str]:
    """What does not hold of a validation set that was used; then it is deleted."""
    from apps.audit.models import AuditEntry
    from apps.federation.models import ValidationReport, ValidationSet
    from apps.federation.pipeline import validation

    found = ValidationSet.objects.get(pk=pk)
    entries = AuditEntry.objects.filter(object=f"validation_set:{pk}", action="validation_set.ready").count()
    # A version, the one that it was made from, or both: it depends on when this is asked.
    reports = ValidationReport.objects.filter(validation_set=pk).count()
    validation.delete(found, actor=ADMIN)
    return [] if entries == 1 and reports in {1, 2} else [f"in use by {entries} entries, {reports} reports"]


def ask_for_verification() -> None:
    """Have the audit verified."""
    from apps.federation.pipeline import verify_audit
    from apps.federation.tasks import enqueue

    enqueue(verify_audit.ask(actor=ADMIN))


def verifications() -> tuple[int, int]:
    """How often the audit was to be verified, and how often it was."""
    from apps.audit.models import AuditEntry

    count = AuditEntry.objects.filter
    return count(action="audit.verify").count(), count(action="audit.verified").count()
