"""What the hub knows of its own processes. Nothing here is history: rows come and go with the processes."""

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now


class Process(models.Model):
    """A process of the hub and its last sign of life, by the database's clock: those of the machines may differ."""

    class Kind(models.TextChoices):
        """The processes that a hub needs, each at least once."""

        WEB = "web"
        TICK = "tick"
        DEFAULT = "default"
        TRAINING = "training"

    id = models.UUIDField(primary_key=True, editable=False)
    kind = models.CharField(max_length=10, choices=Kind.choices)
    version = models.CharField(max_length=20)
    started_at = models.DateTimeField(db_default=Now())
    seen_at = models.DateTimeField(db_default=Now(), db_index=True)

    class Meta:
        verbose_name_plural = "processes"

    def __str__(self) -> str:
        return f"{self.kind} {str(self.pk)[:8]}"


class Timing(models.Model):
    """How often something was done in any process of the hub, how it ended and how long it took: counts that only grow.

    `within_<n>` counts what took no longer than the n-th bound of its kind (`timings.BOUNDS`) and longer than the one
    before. `name` is the name of an address or of a task, `outcome` the class of the status, or how the task ended.
    """

    BUCKETS: ClassVar[tuple[str, ...]] = tuple(f"within_{place}" for place in range(8))

    class What(models.TextChoices):
        """What is timed."""

        REQUEST = "request"
        TASK = "task"

    what = models.CharField(max_length=10, choices=What.choices)
    name = models.CharField(max_length=80)
    outcome = models.CharField(max_length=10)
    count = models.BigIntegerField(default=0)
    seconds = models.FloatField(default=0.0)
    bytes_in = models.BigIntegerField(default=0)
    bytes_out = models.BigIntegerField(default=0)
    within_0 = models.BigIntegerField(default=0)
    within_1 = models.BigIntegerField(default=0)
    within_2 = models.BigIntegerField(default=0)
    within_3 = models.BigIntegerField(default=0)
    within_4 = models.BigIntegerField(default=0)
    within_5 = models.BigIntegerField(default=0)
    within_6 = models.BigIntegerField(default=0)
    within_7 = models.BigIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["what", "name", "outcome"], name="timing_once")]

    def __str__(self) -> str:
        return f"{self.what} {self.name} {self.outcome}"
