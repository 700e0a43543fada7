"""A fine-tuning job, and the scans that it has until it ends."""

import uuid
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from apps.federation.models.kept import KeptScan
from apps.federation.states import Transitions
from apps.finetune.states import JOB_ACTIVE, JOB_TRANSITIONS, JobState


class Job(models.Model):
    """One fine-tuning of a published version (`base`) by its `owner`, under the lease with this `token`.

    `hospital` is whose people may see in the audit that it happened; none for an administrator's. `code` says why it
    failed or was cancelled. `claim` is the worker process that has it, `seen_at` its last sign of life, `attempts` how
    many have had it. `counts` holds class name -> [scans to train on, scans held out], and stays when the scans go.
    `report` is what was measured: {"held_out": {"before": Report, "after": Report}, ...} in JSON types.
    `propose` says that its owner wants it proposed, with this `note`, as soon as it is DONE; `not_proposed` is the code
    with which that was refused, and empty while it was not.
    """

    TRANSITIONS: ClassVar[Transitions] = JOB_TRANSITIONS

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    federation = models.ForeignKey("federation.Federation", on_delete=models.PROTECT, related_name="jobs")
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="jobs")
    hospital = models.ForeignKey("accounts.Hospital", null=True, on_delete=models.PROTECT, related_name="jobs")
    base = models.ForeignKey("federation.ModelVersion", on_delete=models.PROTECT, related_name="jobs_from_here")
    token = models.PositiveBigIntegerField()
    state = models.CharField(max_length=10, choices=JobState.choices, default=JobState.DRAFT)
    code = models.CharField(max_length=60, blank=True)
    epochs = models.PositiveIntegerField(null=True)
    counts = models.JSONField(default=dict)
    attempts = models.PositiveIntegerField(default=0)
    claim = models.UUIDField(null=True)
    seen_at = models.DateTimeField(null=True)
    queued_at = models.DateTimeField(null=True)
    progress = models.JSONField(default=dict)
    progressed_at = models.DateTimeField(null=True, db_index=True)
    report = models.JSONField(default=dict)
    propose = models.BooleanField(default=False)
    note = models.CharField(max_length=200, blank=True)
    not_proposed = models.CharField(max_length=60, blank=True)
    digest = models.CharField(max_length=64, blank=True)
    version = models.OneToOneField(
        "federation.ModelVersion", null=True, on_delete=models.PROTECT, related_name="job", default=None
    )
    created_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True)
    erased_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["federation"], condition=models.Q(state__in=sorted(JOB_ACTIVE)), name="job_one_active"
            ),
        ]

    def __str__(self) -> str:
        return f"job {str(self.pk)[:8]} ({self.state})"

    @property
    def visibility(self) -> str:
        """Return the audit's word for who may see what happens to it."""
        return f"hospital:{self.hospital_id}" if self.hospital_id else "admin"

    @property
    def is_active(self) -> bool:
        """Return whether its scans are here."""
        return self.state in JOB_ACTIVE


class Scan(KeptScan):
    """One scan of a job; `label` is the index of its class in the federation's order, null until somebody says it."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="scans")
    label = models.PositiveSmallIntegerField(null=True)

    class Meta(KeptScan.Meta):
        constraints = [
            models.UniqueConstraint(fields=["job", "digest"], name="scan_once"),
            models.UniqueConstraint(fields=["job", "number"], name="scan_number_once"),
        ]

    def __str__(self) -> str:
        return f"scan {self.number} of job {str(self.job_id)[:8]}"
