"""Which jobs and scans a person may see, and what is told of them."""

from dataclasses import dataclass
from typing import Any

from apps.accounts.models import User
from apps.accounts.roles import may
from apps.federation.live import Progress
from apps.federation.models import Federation, ModelVersion
from apps.federation.states import VersionState
from apps.finetune.models import Job, Scan
from apps.finetune.pipeline.train import measured
from apps.finetune.states import JOB_WORKING, JobState
from hospintel_core.metrics import wilson_interval
from hospintel_core.report import Report

SHOWN = 50
HUB_SET = "the hub's validation set"


def jobs_of(user: User, federation: Federation | None = None) -> Any:
    """Return the jobs that a person may see: their own, or everybody's for administrators; newest first."""
    found = Job.objects.select_related("federation", "owner", "base", "version", "hospital").order_by("-created_at")
    if federation is not None:
        found = found.filter(federation=federation)
    return found if may(user, "see_every_hospital") else found.filter(owner=user)


def bases_of(federation: Federation) -> list[ModelVersion]:
    """Return the versions that a job may start from: the current one first, then the newest of the published."""
    published = federation.versions.filter(state=VersionState.PUBLISHED).order_by("-number")[:SHOWN]
    current = [federation.current] if federation.current else []
    return current + [version for version in published if version != federation.current]


def scans_of(job: Job, user: User) -> Any:
    """Return the scans of a job: its owner's alone, not even an administrator's."""
    return Scan.objects.filter(job=job) if job.owner_id == user.pk else Scan.objects.none()


def figures_of(job: Job, part: str = "held_out") -> list[dict[str, Any]]:
    """Return the report's rows: all scans, then each class; before and after, each a share with its interval.

    `part`: of the scans held out, or (`validation`) of the hub's validation set; no row where there was none.

    Shares are of 1, intervals Wilson's of 95 %; None where a class has no scan.
    """
    before, after = measured(job, "before", part), measured(job, "after", part)
    if before is None or after is None:
        return []
    rows = [{"name": "all", "n": after.n, "before": _share(before), "after": _share(after)}]
    for index, name in enumerate(job.federation.classes):
        n = sum(after.confusion[index])
        rows.append({"name": name, "n": n, "before": _share(before, index), "after": _share(after, index)})
    return rows


def _share(report: Report, index: int | None = None) -> dict[str, float] | None:
    if index is None:
        right, n = report.correct, report.n
    else:
        right, n = report.confusion[index][index], sum(report.confusion[index])
    if not n:
        return None
    low, high = wilson_interval(right, n)
    return {"accuracy": right / n, "low": low, "high": high}


def told_of(job: Job) -> dict[str, Any]:
    """Return how far a job is that a worker has or that waits for one, in the words of its page.

    `value` of `max` is done; `epochs` holds epoch, loss and accuracy (a share) of each that is over.
    """
    epochs = job.progress.get("epochs", [])
    if job.state == JobState.TRAINING:
        value, most = len(epochs), job.epochs or 1
        done = f"{value} of {most} epochs"
        at = f": epoch {value} of {most}, loss {epochs[-1]['loss']:.4f}" if epochs else ""
        headline = f"The worker trains{at}."
    else:
        value, most = job.progress.get("prepared", 0), job.progress.get("of", 1)
        done = f"{value} of {most} images prepared" if "of" in job.progress else "not begun yet"
        headline = "The job waits for the worker." if job.state == JobState.QUEUED else "The worker prepares the scans."
    return {"headline": headline, "done": done, "value": value, "max": most, "epochs": epochs}


def work() -> dict[str, Progress]:
    """Return how far each job is that a worker has, for the live path: its owner and administrators see it."""
    found = Job.objects.filter(state__in=JOB_WORKING, progressed_at__isnull=False)
    return {
        f"job:{job.pk}": Progress(job.owner_id, job.progressed_at, {"of": f"job:{job.pk}", **told_of(job)})
        for job in found
        if job.progressed_at is not None
    }


def proposal_words(job: Job) -> str:
    """Return what became of the version that a job was proposed as, for people; empty where it was not."""
    if job.version is None:
        return ""
    if job.version.state == VersionState.HELD:
        return "The trained version waits for an administrator's decision."
    if job.version.state == VersionState.REJECTED:
        return "The trained version was rejected by an administrator."
    return f"The trained version was published as version {job.version.number}."


def refused_words(code: str) -> str:
    """Return why a job ended without a model, for people."""
    return _WORDS.get(code, f"The job failed ({code}). The hub's log says why.")


_WORDS = {
    "cancelled": "The job was cancelled.",
    "lease_lost": "The lease ended before the job did. Take it again and begin a new job.",
    "job_old": "The job was not finished in time.",
    "worker_lost": "The worker died over this job three times. Try fewer scans, and look into the hub's log.",
    "hub_disk_full": "The hub's disk is full. An administrator makes room; then begin a new job.",
    "scan_gone": "Its scans are gone from the hub's disk. Begin a new job.",
    "scan_damaged": "A scan was damaged on the hub's disk. Begin a new job.",
    "training_not_finite": "The training diverged. Lower the learning rate of the federation's plan.",
    "base_weights_missing": "The weights of the base are not on the hub. An administrator puts them there.",
}


def not_proposed_words(job: Job) -> str:
    """Return why a job was not proposed by itself, for people; empty where nothing was refused."""
    code = job.not_proposed
    return code and _NOT_PROPOSED.get(code, f"What was trained cannot be used ({code}). Train it anew.")


_NOT_PROPOSED = {
    "lease_lost": "The fine-tuning lease had ended. Take it again, then propose.",
    "permission_denied": "Its owner's role does not allow it any more. Administrators give roles, on the page People.",
    "not_a_member": "Its owner belongs to no hospital that takes part any more; see the page People.",
    "workbench_off": "The workbench was switched off for the hospital. An administrator switches it on.",
    "version_waiting": "The same model waits for review already: nothing needs to be done.",
    "parent_unknown": "The version that it was made from is no published one any more. Begin a new job.",
    "version_unchanged": "The training changed nothing. Try more epochs or more scans.",
    "stuck": "The worker could not, three times over. Propose by hand; the hub's log says why.",
}


def counts_of(job: Job) -> list[tuple[str, int]]:
    """Return each class with how many scans the job has of it, and had when they are deleted."""
    names = job.federation.classes
    if job.counts:
        return [(name, sum(job.counts.get(name, [0, 0]))) for name in names]
    labels = list(Scan.objects.filter(job=job).values_list("label", flat=True))
    unnamed = [("no class yet", labels.count(None))] if None in labels else []
    return [(name, labels.count(index)) for index, name in enumerate(names)] + unnamed


@dataclass(frozen=True)
class Confusion:
    """What was taken for what: `rows` has each class (the truth) and how often it was taken for each."""

    id: str
    which: str
    scans: str
    rows: tuple[tuple[str, tuple[int, ...]], ...]


def confusions_of(job: Job) -> list[Confusion]:
    """Return the confusion counts before and after, on the scans held out and, where there was one, the hub's set."""
    names, found = job.federation.classes, []
    for part, suffix, scans in (("held_out", "", "the scans held out"), ("validation", "-hub", HUB_SET)):
        for which in ("before", "after"):
            if (report := measured(job, which, part)) is not None:
                rows = tuple(zip(names, report.confusion, strict=True))
                found.append(Confusion(f"{which}{suffix}", which, scans, rows))
    return found
