"""A step that was begun, or promised, and has not ended well."""

import uuid

from django.db import models


class Attempt(models.Model):
    """How often a step was begun on an object since it last ended well, and which process has it.

    The row is there from the beginning of a step, or from the promise that it will be done (`tries` is 0 then), to its
    good end. `claim` is the hold of the process that has it
    (none between two tries), `holder` which process that is, `seen_at` its last sign of life or the moment of the last
    error, `fault` the kind of that error (empty where the process died). What has `parked_at` is begun by nobody until
    an administrator says so.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    step = models.CharField(max_length=30)
    object_id = models.UUIDField()
    tries = models.PositiveIntegerField(default=0)
    claim = models.UUIDField(null=True)
    holder = models.CharField(max_length=200, blank=True)
    fault = models.CharField(max_length=60, blank=True)
    seen_at = models.DateTimeField()
    queued_at = models.DateTimeField(null=True)
    parked_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["step", "object_id"], name="attempt_once")]

    def __str__(self) -> str:
        return f"{self.step} of {str(self.object_id)[:8]}, begun {self.tries} times"
