"""A scan that a doctor has the hub read. Nothing of it is here in the clear, and the row goes after minutes."""

import uuid
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models.functions import Now


class Reading(models.Model):
    """One scan on its way: asked for, taken by a worker, answered. `answer` is sealed for the page that asked."""

    AUDIT_NAME: ClassVar[str] = "reading"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    kid = models.CharField(max_length=64)
    answer = models.BinaryField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    taken_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"reading {self.pk}"
