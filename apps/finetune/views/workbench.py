"""The workbench: the lease, one's jobs, and one job from its scans to its proposal."""

import re
from collections.abc import Callable
from typing import Any, cast
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.accounts.roles import require
from apps.federation.api.base import audit_refusal, sent
from apps.federation.pipeline.incoming import MOST_BYTES, Added
from apps.federation.pipeline.propose import MOST_NOTE
from apps.federation.pipeline.step import Refusal
from apps.federation.tasks import enqueue
from apps.federation.views.page import federation_of_the_page, person, show
from apps.finetune import queries
from apps.finetune.models import Job, Scan
from apps.finetune.pipeline import jobs, lease, propose_done, scans, vault
from apps.finetune.states import JOB_WORKING, JobState
from apps.finetune.tasks import have_trained

DEFAULT_EPOCHS = "5"
# Why a job is not sent off that is told where its scans are brought.
OF_ITS_SCANS = {"class_missing", "scans_few", "scan_without_class", "held_out_empty"}

SENT_OFF = {
    False: "The job was sent to the worker.",
    True: "The job was sent to the worker. What it trains is proposed for review when it is done.",
}


@require_safe
@require("fine_tune")
def workbench(request: HttpRequest) -> HttpResponseBase:
    """Show who has the lease, and the jobs that the reader may see."""
    user, federation = person(request), federation_of_the_page()
    held = lease.current(federation)
    found = queries.jobs_of(user, federation)
    context = {
        "federation": federation,
        "lease": held,
        "mine": held is not None and held.holder_id == user.pk,
        "minutes": int(lease.duration().total_seconds() // 60),
        "off": _said(lambda: jobs.hospital_of(user, federation)),
        "jobs": found[: queries.SHOWN],
        "bases": queries.bases_of(federation),
        "active": found.filter(owner=user, ended_at=None).first(),
    }
    return show(request, "workbench", context, folder="finetune")


@require_POST
@require("fine_tune")
def begin(request: HttpRequest) -> HttpResponseBase:
    """Begin a job from the version that was chosen; the current one where none was."""
    federation, number = federation_of_the_page(), request.POST.get("base", "")
    try:
        base = jobs.base_of_number(federation, _whole(number)) if number else None
        job = jobs.create(person(request), federation, base=base)
    except Refusal as refusal:
        _tell(request, refusal)
        return redirect("finetune:workbench")
    return redirect("finetune:job-page", job.pk)


@require_http_methods(["GET", "HEAD", "POST"])
@require("fine_tune")
def job_page(request: HttpRequest, job_id: UUID) -> HttpResponseBase:
    """Show a job; take the scans that are sent with one of its forms, or send it off with the other."""
    user = person(request)
    job = _job(request, job_id, own=request.method == "POST")
    added, refusal, not_yet = None, None, None
    if "epochs" in request.POST:
        not_yet = _send_off(request, job)
        if not_yet is None:
            messages.success(request, SENT_OFF[job.propose])
            return redirect("finetune:job-page", job.pk)
        if not_yet.code in OF_ITS_SCANS:
            refusal, not_yet = not_yet, None
    elif request.method == "POST":
        added, refusal = _add(request, job)
    mine, held = job.owner_id == user.pk, lease.current(job.federation)
    context = {
        "not_yet": not_yet,
        "epochs": request.POST.get("epochs", DEFAULT_EPOCHS),
        "wanted": "propose" in request.POST or "epochs" not in request.POST,
        "note": request.POST.get("note", job.note),
        "job": job,
        "mine": mine,
        "working": job.state in JOB_WORKING,
        "draft": job.state == JobState.DRAFT,
        "classes": job.federation.classes,
        "scans": queries.scans_of(job, user),
        "counts": queries.counts_of(job),
        "added": added,
        "refusal": refusal,
        "lease": held if held is not None and held.holder_id == user.pk else None,
        "proposal": queries.proposal_words(job),
        "proposing": propose_done.is_waiting(job.pk),
        "not_proposed": queries.not_proposed_words(job),
        "why": queries.refused_words(job.code) if job.code else "",
        "figures": queries.figures_of(job),
        "on_hub": queries.figures_of(job, "validation"),
        "confusions": queries.confusions_of(job),
        "off": _said(lambda: jobs.still_on(job)) if job.state == JobState.DRAFT else "",
        "most_bytes": MOST_BYTES,
        "most_epochs": jobs.MOST_EPOCHS,
        "most_note": MOST_NOTE,
        "told": queries.told_of(job),
    }
    return show(request, "job", context, folder="finetune")


def _said(ask: Callable[[], object]) -> str:
    """Return with which sentence something is refused; "" where it is not."""
    try:
        ask()
    except Refusal as refusal:
        return refusal.detail
    return ""


def _add(request: HttpRequest, job: Job) -> tuple[Added | None, Refusal | None]:
    try:
        return scans.add(job, sent(request), label=scans.label_of(job, request.POST.get("class_name", ""))), None
    except Refusal as refusal:
        audit_refusal(refusal, request, person(request))
        return None, refusal


def _send_off(request: HttpRequest, job: Job) -> Refusal | None:
    try:
        epochs, note = _whole(request.POST["epochs"]), request.POST.get("note", "")
        jobs.fine_tune(job, epochs=epochs, propose="propose" in request.POST, note=note)
    except Refusal as refusal:
        audit_refusal(refusal, request, person(request))
        return refusal
    have_trained(job.pk)
    return None


@require_POST
@require("fine_tune")
def job_verb(request: HttpRequest, job_id: UUID, verb: str) -> HttpResponseBase:
    """Cancel or propose."""
    if verb not in VERBS:
        raise Http404
    own, step, done = VERBS[verb]
    job = _job(request, job_id, own=own)
    return _done(request, lambda: step(request, job), done, "finetune:job-page", job.pk)


def _whole(text: str) -> int:
    """Return the number that a form sent; 0, which is none of the hub's, where it is no number of a few digits."""
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else 0


def _cancel(request: HttpRequest, job: Job) -> None:
    jobs.cancel(job, actor=person(request).actor)


def _propose(request: HttpRequest, job: Job) -> None:
    _, following = jobs.propose(job, note=request.POST.get("note", ""))
    enqueue(following)


VERBS: dict[str, tuple[bool, Callable[[HttpRequest, Job], None], str]] = {
    "cancel": (False, _cancel, "The job is cancelled, and its scans are deleted."),
    "propose": (True, _propose, "Proposed: an administrator who is not you decides about it."),
}


@require_POST
@require("fine_tune")
def scan_verb(request: HttpRequest, job_id: UUID, scan_id: UUID, verb: str) -> HttpResponseBase:
    """Remove a scan, or say of which class it is."""
    job = _job(request, job_id, own=True)
    scan = _scan(request, job, scan_id)
    if verb == "remove":
        gone = f"Scan {scan.number} is removed."
        return _done(request, lambda: scans.remove(job, scan), gone, "finetune:job-page", job.pk)
    if verb == "class":

        def change() -> None:
            scans.set_class(job, scan, scans.label_of(job, request.POST.get("class_name", "")))

        changed = f"Scan {scan.number} has its class."
        return _done(request, change, changed, "finetune:job-page", job.pk)
    raise Http404


@require_safe
@require("fine_tune")
def preview(request: HttpRequest, job_id: UUID, scan_id: UUID) -> HttpResponseBase:
    """Show a small picture of a scan to its owner."""
    job = _job(request, job_id, own=True)
    try:
        return HttpResponse(scans.preview(job, _scan(request, job, scan_id)), content_type="image/png")
    except vault.VaultError as error:
        raise Http404 from error


def _job(request: HttpRequest, job_id: UUID, *, own: bool) -> Job:
    """Return a job that the reader may see, or may change. Raises Http404."""
    found = queries.jobs_of(person(request))
    job = get_object_or_404(found.filter(owner=person(request)) if own else found, pk=job_id)
    return cast("Job", job)


def _scan(request: HttpRequest, job: Job, scan_id: UUID) -> Scan:
    return cast("Scan", get_object_or_404(queries.scans_of(job, person(request)), pk=scan_id))


def _tell(request: HttpRequest, refusal: Refusal) -> None:
    audit_refusal(refusal, request, person(request))
    messages.error(request, refusal.detail)


def _done(request: HttpRequest, step: Callable[[], object], done: str, *back: Any) -> HttpResponseBase:
    try:
        step()
        messages.success(request, done)
    except Refusal as refusal:
        _tell(request, refusal)
    return redirect(*back)
