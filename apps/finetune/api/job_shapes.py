"""What the calls of jobs answer, for the OpenAPI document, and how it is filled."""

from typing import Any

from rest_framework import serializers

from apps.federation.api.shapes import CopyAnswer, ProblemAnswer
from apps.finetune.models import Job, Scan
from apps.finetune.queries import figures_of
from apps.finetune.states import JobState


class JobAnswer(serializers.Serializer[None]):
    """A fine-tuning job."""

    id = serializers.UUIDField()
    state = serializers.ChoiceField(JobState.choices)
    code = serializers.CharField(help_text="Why it failed or was cancelled, or empty.")
    owner = serializers.CharField()
    base = serializers.IntegerField(help_text="Number of the version that it starts from.")
    epochs = serializers.IntegerField(allow_null=True)
    counts = serializers.DictField(help_text="Class -> [scans to train on, scans held out], once it was sent off.")
    progress = serializers.DictField(help_text="prepared, of; epochs: epoch, loss, accuracy of each; of_epochs.")
    figures = serializers.ListField(
        child=serializers.DictField(), help_text="Of all and each class: n, before, after with accuracy, low, high."
    )
    on_hub = serializers.ListField(
        child=serializers.DictField(), help_text="The same on the hub's validation set; empty where there was none."
    )
    report = serializers.DictField(help_text="The confusion counts and losses behind the figures.")
    propose = serializers.BooleanField(help_text="Whether it is proposed by itself when it is done.")
    note = serializers.CharField(help_text="What the reviewer is told then.")
    not_proposed = serializers.CharField(
        help_text="Why it was not proposed by itself, or empty; it is DONE all the same."
    )
    version = serializers.UUIDField(allow_null=True, help_text="The version that it was proposed as.")
    created_at = serializers.DateTimeField()
    ended_at = serializers.DateTimeField(allow_null=True)
    erased_at = serializers.DateTimeField(allow_null=True, help_text="When its scans were deleted.")


class JobsAnswer(serializers.Serializer[None]):
    """The newest first."""

    jobs = JobAnswer(many=True)


class ScanAnswer(serializers.Serializer[None]):
    """A scan of a job."""

    id = serializers.UUIDField()
    number = serializers.IntegerField()
    class_name = serializers.CharField(allow_null=True, help_text="Null until somebody says.")
    kind = serializers.CharField(help_text="png, jpeg or dicom")
    width = serializers.IntegerField()
    height = serializers.IntegerField()
    digest = serializers.CharField(help_text="SHA-256 of its pixels as a PNG file, in hex.")


class ScansAnswer(serializers.Serializer[None]):
    """The scans of a job."""

    scans = ScanAnswer(many=True)


class AddedAnswer(ScansAnswer):
    """What became of the files."""

    copies = CopyAnswer(many=True)
    refused = ProblemAnswer(many=True)


def job_answer(job: Job) -> dict[str, Any]:
    """Return what is told of a job."""
    same = ("id", "state", "code", "epochs", "counts", "progress", "report", "created_at", "ended_at", "erased_at")
    return {
        **{name: getattr(job, name) for name in (*same, "propose", "note", "not_proposed")},
        "owner": job.owner.get_username(),
        "base": job.base.number,
        "figures": figures_of(job),
        "on_hub": figures_of(job, "validation"),
        "version": job.version_id,
    }


def scan_answer(scan: Scan, classes: list[str]) -> dict[str, Any]:
    """Return what is told of a scan."""
    same = ("id", "number", "kind", "width", "height", "digest")
    return {
        **{name: getattr(scan, name) for name in same},
        "class_name": None if scan.label is None else classes[scan.label],
    }
