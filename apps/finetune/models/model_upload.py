"""A model that a person uploaded: its file, until it has been read, and what became of it."""

import uuid
from typing import ClassVar

from django.conf import settings
from django.db import models

from apps.federation.states import Transitions
from apps.finetune.states import MODEL_UPLOAD_LIVE, MODEL_UPLOAD_TRANSITIONS, ModelUploadState


class ModelUpload(models.Model):
    """RECEIVED -> READING -> PROPOSED | REFUSED(code); READING -> RECEIVED where the worker died.

    One of a federation waits or is read at a time. The file's own name is not kept. `parent` is the version that was
    current when it came. `isolated` says whether the process that read it had left the network and the files behind,
    or had its limits alone; it, `read_ms` and `peak_bytes` are empty until it was read.
    """

    AUDIT_NAME: ClassVar[str] = "model_upload"
    TRANSITIONS: ClassVar[Transitions] = MODEL_UPLOAD_TRANSITIONS

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    federation = models.ForeignKey("federation.Federation", on_delete=models.PROTECT, related_name="model_uploads")
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="model_uploads")
    lease = models.ForeignKey("finetune.Lease", on_delete=models.PROTECT, related_name="model_uploads")
    parent = models.ForeignKey("federation.ModelVersion", on_delete=models.PROTECT, related_name="+")
    version = models.OneToOneField(
        "federation.ModelVersion", null=True, on_delete=models.PROTECT, related_name="model_upload"
    )
    state = models.CharField(max_length=10, choices=ModelUploadState.choices, default=ModelUploadState.RECEIVED)
    code = models.CharField(max_length=40, blank=True)
    detail = models.CharField(max_length=200, blank=True)
    note = models.CharField(max_length=200, blank=True)
    size = models.PositiveBigIntegerField()
    digest = models.CharField(max_length=64)
    isolated = models.BooleanField(null=True)
    read_ms = models.PositiveIntegerField(null=True)
    peak_bytes = models.PositiveBigIntegerField(null=True)
    tries = models.PositiveIntegerField(default=0)
    received_at = models.DateTimeField()
    queued_at = models.DateTimeField(null=True)
    claimed_at = models.DateTimeField(null=True)
    decided_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["federation"],
                condition=models.Q(state__in=sorted(MODEL_UPLOAD_LIVE)),
                name="model_upload_one_live",
            )
        ]

    def __str__(self) -> str:
        return f"uploaded model {self.digest[:12]} ({self.state})"

    @property
    def visibility(self) -> str:
        """Return the audit's word for who may see what becomes of it: its author's hospital, and administrators."""
        hospital = self.author.memberships.order_by("hospital").values_list("hospital_id", flat=True).first()
        return f"hospital:{hospital}" if hospital else "admin"
