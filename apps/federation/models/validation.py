"""The scans on the hub with which versions are measured before they are published."""

import uuid
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from apps.federation.models.kept import Counts, KeptScan
from apps.federation.states import VALIDATION_COMING, VALIDATION_TRANSITIONS, Transitions, ValidationState


class ValidationSet(models.Model):
    """Labelled scans that an administrator brought for a federation; they stay on the hub, sealed.

    RECEIVING while scans come, PREPARING while a worker computes their features, READY, at last REPLACED by the next
    one or DELETED. One of a federation is READY, and one is on its way, at a time. `counts` holds class name -> scans
    and stays when the scans go; `digest` is SHA-256 over the classes and digests of the scans, `backbone` that of the
    base which made the features. `code` says why it failed. `prepared` is how many scans the worker has read. `domain`
    says what its scans look like (`hospintel_core.domain.Domain` in JSON types) as long as it is READY; it is empty
    where the set is too small to tell.
    """

    AUDIT_NAME: ClassVar[str] = "validation_set"
    TRANSITIONS: ClassVar[Transitions] = VALIDATION_TRANSITIONS

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    federation = models.ForeignKey("federation.Federation", on_delete=models.PROTECT, related_name="validation_sets")
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="validation_sets")
    state = models.CharField(max_length=10, choices=ValidationState.choices, default=ValidationState.RECEIVING)
    code = models.CharField(max_length=60, blank=True)
    counts = models.JSONField(default=dict)
    digest = models.CharField(max_length=64, blank=True)
    backbone = models.CharField(max_length=64, blank=True)
    domain = models.JSONField(default=dict)
    prepared = models.PositiveIntegerField(default=0)
    queued_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    ready_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    erased_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["federation"], condition=models.Q(state=ValidationState.READY), name="validation_one_ready"
            ),
            models.UniqueConstraint(
                fields=["federation"],
                condition=models.Q(state__in=sorted(VALIDATION_COMING)),
                name="validation_one_coming",
            ),
        ]

    def __str__(self) -> str:
        return f"validation set {str(self.pk)[:8]} ({self.state})"

    @property
    def total(self) -> int:
        """Return how many scans it has, or had when it was prepared."""
        return sum(self.counts.values())


class ValidationScan(KeptScan):
    """One scan of a set; `label` is the index of its class in the federation's order."""

    validation_set = models.ForeignKey(ValidationSet, on_delete=models.CASCADE, related_name="scans")
    label = models.PositiveSmallIntegerField()

    class Meta(KeptScan.Meta):
        constraints = [
            models.UniqueConstraint(fields=["validation_set", "digest"], name="validation_scan_once"),
            models.UniqueConstraint(fields=["validation_set", "number"], name="validation_scan_number_once"),
        ]

    def __str__(self) -> str:
        return f"scan {self.number} of validation set {str(self.validation_set_id)[:8]}"


class ValidationReport(Counts):
    """What the hub measured with one version on one validation set."""

    version = models.ForeignKey("federation.ModelVersion", on_delete=models.PROTECT, related_name="validations")
    validation_set = models.ForeignKey(ValidationSet, on_delete=models.PROTECT, related_name="reports")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["version", "validation_set"], name="validated_once")]
