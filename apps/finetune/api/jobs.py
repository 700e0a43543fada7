"""`/api/v1/jobs`: fine-tuning jobs and their scans."""

from typing import cast
from uuid import UUID

from django.http import Http404, HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from apps.federation.api.base import PersonView, sent
from apps.federation.api.scan_files import UNREADABLE, files_form, told
from apps.federation.api.shapes import VersionAnswer, person_refusals
from apps.federation.permissions import allowed
from apps.federation.pipeline.propose import MOST_NOTE
from apps.federation.tasks import enqueue
from apps.finetune import queries
from apps.finetune.api.job_shapes import (
    AddedAnswer,
    JobAnswer,
    JobsAnswer,
    ScanAnswer,
    ScansAnswer,
    job_answer,
    scan_answer,
)
from apps.finetune.models import Job, Scan
from apps.finetune.pipeline import jobs, lease, scans
from apps.finetune.tasks import have_trained

WRITE = {404: "not_found", 409: "lease_lost job_state"}
# What brings scans, says of them or trains on them.
WORK = {**WRITE, 403: "workbench_off"}


class JobRequest(serializers.Serializer[None]):
    """From which version."""

    base = serializers.IntegerField(
        required=False, help_text="Number of a published version; the current one where it is left out."
    )


class TrainRequest(serializers.Serializer[None]):
    """How long, and what becomes of it then."""

    epochs = serializers.IntegerField(help_text="1 to 20.")
    propose = serializers.BooleanField(
        required=False,
        default=False,
        help_text="Propose it for review as soon as it is done; `not_proposed` of the job says why not, if refused.",
    )
    note = serializers.CharField(
        required=False,
        allow_blank=True,
        default="",
        max_length=MOST_NOTE,
        help_text="What the reviewer should know; at most 200 characters.",
    )


class ProposeRequest(serializers.Serializer[None]):
    """What the reviewer should know."""

    note = serializers.CharField(required=False, allow_blank=True, default="", max_length=MOST_NOTE)


class LabelRequest(serializers.Serializer[None]):
    """Of which class a scan is."""

    class_name = serializers.CharField()


class WorkbenchView(PersonView):
    """A call of the workbench."""

    permission_classes = [allowed("fine_tune")]

    def seen(self, job_id: UUID) -> Job:
        """Return a job that the caller may see. Raises Http404."""
        job = queries.jobs_of(self.user).filter(pk=job_id).first()
        if job is None:
            raise Http404
        return cast("Job", job)

    def own(self, job_id: UUID) -> Job:
        """Return a job of the caller's own. Raises Http404."""
        job = self.seen(job_id)
        if job.owner_id != self.user.pk:
            raise Http404
        return job


class JobsView(WorkbenchView):
    """All jobs."""

    @extend_schema(operation_id="list_jobs", tags=["Workbench"], responses={200: JobsAnswer, **person_refusals()})
    def get(self, request: Request) -> Response:  # noqa: ARG002 - DRF's signature
        """List one's own jobs, newest first; admins see everybody's."""
        return Response({"jobs": [job_answer(job) for job in queries.jobs_of(self.user)[: queries.SHOWN]]})

    @extend_schema(
        tags=["Workbench"],
        request=JobRequest,
        responses={
            201: JobAnswer,
            **person_refusals(
                {
                    400: "bad_request",
                    403: "not_a_member workbench_off",
                    409: "base_unknown job_active lease_lost",
                    507: "hub_disk_full",
                },
            ),
        },
    )
    def post(self, request: Request) -> Response:
        """Begin a job; the caller has the lease."""
        asked = JobRequest(data=request.data)
        asked.is_valid(raise_exception=True)
        federation = lease.default_federation()
        number = asked.validated_data.get("base")
        base = None if number is None else jobs.base_of_number(federation, number)
        return Response(job_answer(jobs.create(self.user, federation, base=base)), status=201)


class JobView(WorkbenchView):
    """One job."""

    @extend_schema(tags=["Workbench"], responses={200: JobAnswer, **person_refusals({404: "not_found"})})
    def get(self, request: Request, job_id: UUID) -> Response:  # noqa: ARG002 - DRF's signature
        """Tell how far a job is, and what it measured."""
        return Response(job_answer(self.seen(job_id)))


class TrainView(WorkbenchView):
    """Send a job off."""

    @extend_schema(
        tags=["Workbench"],
        request=TrainRequest,
        responses={
            200: JobAnswer,
            **person_refusals(
                {
                    400: "bad_request epochs_range note_long scan_without_class class_missing scans_few held_out_empty",
                    **WORK,
                }
            ),
        },
    )
    def post(self, request: Request, job_id: UUID) -> Response:
        """Train: a fifth of the scans, by their content, is held out to measure with."""
        job = self.own(job_id)
        asked = TrainRequest(data=request.data)
        asked.is_valid(raise_exception=True)
        jobs.fine_tune(job, **asked.validated_data)
        have_trained(job.pk)
        return Response(job_answer(job))


class CancelView(WorkbenchView):
    """Cancel a job."""

    @extend_schema(
        tags=["Workbench"],
        request=None,
        responses={200: JobAnswer, **person_refusals({404: "not_found", 409: "job_state"})},
    )
    def post(self, request: Request, job_id: UUID) -> Response:  # noqa: ARG002 - DRF's signature
        """Cancel a job; its scans are deleted."""
        job = self.seen(job_id)
        jobs.cancel(job, actor=self.user.actor)
        return Response(job_answer(job))


class ProposeView(WorkbenchView):
    """Propose what a job trained."""

    @extend_schema(
        tags=["Workbench"],
        request=ProposeRequest,
        responses={
            200: VersionAnswer,
            **person_refusals(
                {
                    400: "bad_request note_long",
                    403: "not_a_member workbench_off",
                    **WRITE,
                    409: "lease_lost job_state version_unchanged version_waiting",
                }
            ),
        },
    )
    def post(self, request: Request, job_id: UUID) -> Response:
        """Propose the trained version: an admin who is not its author decides."""
        job = self.own(job_id)
        asked = ProposeRequest(data=request.data)
        asked.is_valid(raise_exception=True)
        version, following = jobs.propose(job, note=asked.validated_data["note"])
        enqueue(following)
        answer = {name: getattr(version, name) for name in ("number", "state", "digest", "verdict")}
        return Response({"id": str(version.pk), **answer})


class ScansView(WorkbenchView):
    """The scans of a job, for its owner."""

    parser_classes = [MultiPartParser]

    @extend_schema(tags=["Workbench"], responses={200: ScansAnswer, **person_refusals({404: "not_found"})})
    def get(self, request: Request, job_id: UUID) -> Response:  # noqa: ARG002 - DRF's signature
        """List the scans of one's own job."""
        job = self.own(job_id)
        classes = job.federation.classes
        return Response({"scans": [scan_answer(scan, classes) for scan in queries.scans_of(job, self.user)]})

    @extend_schema(
        tags=["Workbench"],
        request=files_form(
            folder="The folders in which the files lie, as `mine/glioma`; the first that names a class counts."
        ),
        responses={
            200: AddedAnswer,
            **person_refusals(
                {
                    400: "bad_request class_unknown",
                    413: "body_too_large",
                    422: f"{UNREADABLE} job_full",
                    507: "hub_disk_full",
                    **WORK,
                }
            ),
        },
    )
    def post(self, request: Request, job_id: UUID) -> Response:
        """Bring scans; each is made anew of its pixels alone and kept sealed.

        422, with the first file's code, where none could be taken.
        """
        job = self.own(job_id)
        folder, name = (str(request.POST.get(field, "")) for field in ("folder", "class_name"))
        added = scans.add(job, sent(request), label=scans.label_by_folder(job, folder, name))
        left_out = told(added)
        return Response({"scans": [scan_answer(scan, job.federation.classes) for scan in added.scans], **left_out})


class ScanView(WorkbenchView):
    """One scan."""

    def _scan(self, job: Job, scan_id: UUID) -> Scan:
        scan = queries.scans_of(job, self.user).filter(pk=scan_id).first()
        if scan is None:
            raise Http404
        return cast("Scan", scan)

    @extend_schema(
        tags=["Workbench"],
        request=LabelRequest,
        responses={200: ScanAnswer, **person_refusals({400: "bad_request class_unknown", **WORK})},
    )
    def patch(self, request: Request, job_id: UUID, scan_id: UUID) -> Response:
        """Say of which class a scan is."""
        job = self.own(job_id)
        scan = self._scan(job, scan_id)
        asked = LabelRequest(data=request.data)
        asked.is_valid(raise_exception=True)
        scans.set_class(job, scan, scans.label_of(job, asked.validated_data["class_name"]))
        return Response(scan_answer(scan, job.federation.classes))

    @extend_schema(tags=["Workbench"], responses={204: None, **person_refusals(WRITE)})
    def delete(self, request: Request, job_id: UUID, scan_id: UUID) -> HttpResponse:  # noqa: ARG002 - DRF's signature
        """Remove a scan from a job."""
        job = self.own(job_id)
        scans.remove(job, self._scan(job, scan_id))
        return Response(status=204)
