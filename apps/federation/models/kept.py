"""What several tables share: counts that were measured, and scans that are kept sealed."""

import uuid

from django.db import models
from django.db.models.functions import Now

from hospintel_core.report import Report


class Counts(models.Model):
    """What was measured with one version on some labelled scans: integers only."""

    confusion = models.JSONField()
    n = models.PositiveIntegerField()
    correct = models.PositiveIntegerField()
    loss_micro = models.BigIntegerField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.correct} of {self.n} right"

    @property
    def report(self) -> Report:
        """Return the integers as the core's `Report`."""
        return Report(tuple(tuple(row) for row in self.confusion), self.loss_micro)


class KeptScan(models.Model):
    """A scan that lies sealed in the uploads folder, known by its `number`: no name of a file is kept.

    `digest` is SHA-256 of the PNG made of its pixels.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    number = models.PositiveIntegerField()
    digest = models.CharField(max_length=64)
    kind = models.CharField(max_length=10)
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        abstract = True
        ordering = ["number"]
