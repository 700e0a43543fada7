"""A joint model and the hospitals that train it."""

from django.db import models
from django.db.models.functions import Now

from apps.federation.states import Selection
from hospintel_core.architectures import CLASSES


def default_classes() -> list[str]:
    """Return the class names in the order of the model's outputs."""
    return list(CLASSES)


class Federation(models.Model):
    """One joint model: architecture, classes, limits, and the version that is current.

    Times are seconds. `min_updates` is the quorum of a round; `grace` runs from the moment the quorum is in,
    `deadline` from the first accepted update. `evaluate_quorum` 0 means that no agent evaluates a candidate
    before it is published. `selection` says whom a round asks; of a part of the agents, `selection_fraction` are
    wanted, and `over_select` of these are asked beyond them. After `absent_after` rounds without a hospital none waits
    for it any more; 0: each does.
    """

    slug = models.SlugField(primary_key=True)
    uuid = models.UUIDField(unique=True)
    name = models.CharField(max_length=100)
    architecture = models.CharField(max_length=50, default="vgg16-head256")
    classes = models.JSONField(default=default_classes)
    codec = models.CharField(max_length=30, default="float32")
    rule = models.CharField(max_length=30, default="fedavg")
    server_momentum = models.FloatField(default=0)
    plan = models.JSONField(default=dict)
    min_updates = models.PositiveIntegerField(default=2)
    grace = models.PositiveIntegerField(default=120)
    deadline = models.PositiveIntegerField(default=1800)
    seen_within = models.PositiveIntegerField(default=120)
    selection = models.CharField(max_length=10, choices=Selection.choices, default=Selection.ALL)
    selection_fraction = models.FloatField(default=1)
    over_select = models.FloatField(default=0)
    absent_after = models.PositiveIntegerField(default=3)
    evaluate_quorum = models.PositiveIntegerField(default=0)
    evaluate_deadline = models.PositiveIntegerField(default=600)
    gate_margin = models.FloatField(default=0.02)
    current = models.ForeignKey("federation.ModelVersion", null=True, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.slug


class Participation(models.Model):
    """A hospital takes part in a federation."""

    federation = models.ForeignKey(Federation, on_delete=models.PROTECT, related_name="participations")
    hospital = models.ForeignKey("accounts.Hospital", on_delete=models.PROTECT, related_name="participations")
    # Whether its doctors may bring scans to the hub to fine-tune with.
    workbench = models.BooleanField(default=False)
    # Rounds in a row that closed without it, and since when none waits for it.
    missed = models.PositiveIntegerField(default=0)
    absent_since = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["federation", "hospital"], name="participation_once")]

    def __str__(self) -> str:
        return f"{self.hospital} in {self.federation_id}"
