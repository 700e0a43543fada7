"""Versions of the joint model, and what the agents measured on them."""

import uuid
from typing import ClassVar

from django.db import models
from django.db.models.functions import Now

from apps.federation.models.kept import Counts
from apps.federation.states import VERSION_TRANSITIONS, Transitions, VersionState


class ModelVersion(models.Model):
    """A head, addressed by the SHA-256 of its safetensors file.

    CANDIDATE -> PUBLISHED | HELD | REJECTED, HELD -> PUBLISHED | REJECTED. `number` is given at publication.
    `parent` is lineage: many versions may come of one. `author` is the person who proposed it (none where a round made
    it), `note` what they say about it, `report` what their job measured (`pipeline/propose.py` says how), `decided_by`
    the audit's name of whoever published, rejected or restored it. `calibration` holds the temperature that the hub's
    validation set gave it (`hospintel_core.calibration.Calibration` in JSON types, and the `set`), once published.
    """

    class Source(models.TextChoices):
        """Where a version comes from."""

        SEED = "SEED"
        ROUND = "ROUND"
        ROLLBACK = "ROLLBACK"
        FINE_TUNE = "FINE_TUNE"
        UPLOAD = "UPLOAD"

    AUDIT_NAME: ClassVar[str] = "version"
    TRANSITIONS: ClassVar[Transitions] = VERSION_TRANSITIONS

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    federation = models.ForeignKey("federation.Federation", on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField(null=True)
    digest = models.CharField(max_length=64, db_index=True)
    state = models.CharField(max_length=10, choices=VersionState.choices, default=VersionState.CANDIDATE)
    source = models.CharField(max_length=10, choices=Source.choices)
    parent = models.ForeignKey("self", null=True, on_delete=models.PROTECT, related_name="children")
    round = models.OneToOneField("federation.Round", null=True, on_delete=models.PROTECT, related_name="version")
    author = models.ForeignKey("accounts.User", null=True, on_delete=models.PROTECT, related_name="proposals")
    note = models.CharField(max_length=200, blank=True)
    report = models.JSONField(default=dict)
    calibration = models.JSONField(default=dict)
    decided_by = models.CharField(max_length=100, blank=True)
    verdict = models.CharField(max_length=400, blank=True)
    # Set when the next round's reports say that this version is worse than its parent.
    alarm = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    published_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["federation", "number"], name="version_number_once"),
            # One head waits for review once, however often it is sent.
            models.UniqueConstraint(
                fields=["federation", "digest"],
                condition=models.Q(state=VersionState.HELD, source__in=["FINE_TUNE", "UPLOAD"]),
                name="version_proposed_once",
            ),
        ]

    def __str__(self) -> str:
        return f"version {self.number}" if self.number else f"{self.state.lower()} {self.digest[:12]}"


class Evaluation(Counts):
    """What one agent measured with one version on its own validation part."""

    class Kind(models.TextChoices):
        """Whether the report rode in an update or answers an `evaluate` task."""

        TRAIN = "TRAIN"
        EVALUATE = "EVALUATE"

    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="evaluations")
    agent = models.ForeignKey("federation.Agent", on_delete=models.PROTECT, related_name="evaluations")
    round = models.ForeignKey("federation.Round", on_delete=models.PROTECT, related_name="evaluations")
    kind = models.CharField(max_length=10, choices=Kind.choices)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["round", "agent", "kind"], name="evaluation_once")]
