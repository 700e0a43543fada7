"""Runs and their rounds."""

import uuid
from datetime import datetime, timedelta
from typing import ClassVar

from django.db import models
from django.db.models.functions import Now

from apps.federation.states import (
    ROUND_ACTIVE,
    ROUND_TRANSITIONS,
    RUN_ACTIVE,
    RUN_TRANSITIONS,
    UPDATE_TAKEN,
    RoundState,
    RunState,
    Selection,
    Transitions,
)


class Run(models.Model):
    """A wanted number of rounds under one plan. One run of a federation is active at a time."""

    TRANSITIONS: ClassVar[Transitions] = RUN_TRANSITIONS

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    federation = models.ForeignKey("federation.Federation", on_delete=models.PROTECT, related_name="runs")
    rounds = models.PositiveIntegerField()
    plan = models.JSONField()
    state = models.CharField(max_length=10, choices=RunState.choices, default=RunState.RUNNING)
    started_by = models.CharField(max_length=100)
    created_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["federation"], condition=models.Q(state__in=sorted(RUN_ACTIVE)), name="run_one_active"
            ),
        ]

    def __str__(self) -> str:
        return f"run of {self.rounds} rounds ({self.state})"


class RoundQuerySet(models.QuerySet["Round"]):
    """Reads on rounds."""

    def active(self) -> "RoundQuerySet":
        """Return the rounds that have not ended."""
        return self.filter(state__in=ROUND_ACTIVE)

    def of(self, federation_slug: str) -> "RoundQuerySet":
        """Return the rounds of one federation's runs."""
        return self.filter(run__federation=federation_slug)

    def under_evaluation(self) -> "RoundQuerySet":
        """Return the rounds whose version the agents are asked to evaluate."""
        return self.filter(evaluation_opened_at__isnull=False, evaluation_closed_at__isnull=True)


class Round(models.Model):
    """One round: the base version goes out, updates come in, one candidate version comes of it.

    COLLECTING -> AGGREGATING -> EVALUATING -> PUBLISHED | HELD; from any active state -> FAILED(reason).
    `number` is the round's place in its run; a round that failed is tried again as the next `attempt`.
    `expected` holds the ids of the agents that are asked and waited for. Where more were asked than are needed,
    `wanted` is the number of updates with which the round closes without the others.
    """

    TRANSITIONS: ClassVar[Transitions] = ROUND_TRANSITIONS

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="all_rounds")
    number = models.PositiveIntegerField()
    attempt = models.PositiveIntegerField(default=1)
    base = models.ForeignKey("federation.ModelVersion", on_delete=models.PROTECT, related_name="rounds_from_here")
    state = models.CharField(max_length=12, choices=RoundState.choices, default=RoundState.COLLECTING)
    reason = models.CharField(max_length=60, blank=True)
    expected = models.JSONField(default=list)
    selection = models.CharField(max_length=10, choices=Selection.choices, default=Selection.ALL)
    wanted = models.PositiveIntegerField(null=True)
    round_kid = models.CharField(max_length=16)
    rsa_kid = models.CharField(max_length=16)
    manifest = models.BinaryField()
    manifest_signature = models.BinaryField()
    manifest_kid = models.CharField(max_length=16)
    queued_at = models.DateTimeField(null=True)
    opened_at = models.DateTimeField()
    first_accepted_at = models.DateTimeField(null=True)
    quorum_at = models.DateTimeField(null=True)
    last_accepted_at = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)
    aggregated_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    evaluation_manifest = models.BinaryField(null=True)
    evaluation_signature = models.BinaryField(null=True)
    evaluation_kid = models.CharField(max_length=16, blank=True)
    evaluation_opened_at = models.DateTimeField(null=True)
    evaluation_deadline_at = models.DateTimeField(null=True)
    evaluation_closed_at = models.DateTimeField(null=True)

    objects = RoundQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["run"], condition=models.Q(state__in=sorted(ROUND_ACTIVE)), name="round_one_active"
            ),
            models.UniqueConstraint(fields=["run", "number", "attempt"], name="round_number_attempt"),
        ]

    def __str__(self) -> str:
        return f"round {self.number} ({self.state})"

    @property
    def is_active(self) -> bool:
        """Return whether the round has not ended."""
        return self.state in ROUND_ACTIVE

    @property
    def is_superseded(self) -> bool:
        """Return whether it ended because another version was published while it was open."""
        return self.state == RoundState.FAILED and self.reason == "superseded"

    @property
    def is_full(self) -> bool:
        """Return whether it closed with as many updates as were wanted, where more agents were asked."""
        if self.wanted is None or self.state in {RoundState.COLLECTING, RoundState.FAILED}:
            return False
        return self.updates.filter(state__in=UPDATE_TAKEN).count() >= self.wanted

    @property
    def deadline_at(self) -> datetime | None:
        """Return when the round ends however many updates are in; None before the first accepted one."""
        if self.first_accepted_at is None:
            return None
        return self.first_accepted_at + timedelta(seconds=self.run.federation.deadline)

    @property
    def closes_at(self) -> datetime | None:
        """Return when the round closes without those who are missing: `grace` after the quorum, or at the deadline."""
        if self.quorum_at is None or self.deadline_at is None:
            return self.deadline_at
        return min(self.deadline_at, self.quorum_at + timedelta(seconds=self.run.federation.grace))
