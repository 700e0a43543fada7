"""One agent's sealed update to one round."""

import uuid
from typing import ClassVar

from django.db import models

from apps.federation.states import UPDATE_LIVE, UPDATE_TRANSITIONS, RoundState, Transitions, UpdateState


class UpdateQuerySet(models.QuerySet["Update"]):
    """Reads on updates."""

    def live(self) -> "UpdateQuerySet":
        """Return the updates that were not refused."""
        return self.filter(state__in=UPDATE_LIVE)


class Update(models.Model):
    """A sealed update whose signature holds. RECEIVED -> ACCEPTED | REFUSED, ACCEPTED -> CONSUMED | REFUSED.

    The row is the replay record too: a nonce of an agent is never accepted twice.
    `digest` is the SHA-256 of the sealed bytes, `size` their number.
    """

    TRANSITIONS: ClassVar[Transitions] = UPDATE_TRANSITIONS

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    round = models.ForeignKey("federation.Round", on_delete=models.PROTECT, related_name="updates")
    agent = models.ForeignKey("federation.Agent", on_delete=models.PROTECT, related_name="updates")
    state = models.CharField(max_length=10, choices=UpdateState.choices, default=UpdateState.RECEIVED)
    code = models.CharField(max_length=60, blank=True)
    nonce = models.CharField(max_length=32)
    seq = models.BigIntegerField()
    attempt = models.PositiveIntegerField()
    num_samples = models.PositiveIntegerField()
    digest = models.CharField(max_length=64)
    size = models.PositiveIntegerField()
    norm = models.FloatField(null=True)
    train_ms = models.PositiveBigIntegerField(null=True)
    queued_at = models.DateTimeField(null=True)
    received_at = models.DateTimeField()
    decided_at = models.DateTimeField(null=True)

    objects = UpdateQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["agent", "nonce"], name="update_nonce_once"),
            models.UniqueConstraint(
                fields=["round", "agent"], condition=models.Q(state__in=sorted(UPDATE_LIVE)), name="update_one_live"
            ),
        ]
        indexes = [models.Index(fields=["round", "state"]), models.Index(fields=["round", "agent", "digest"])]

    def __str__(self) -> str:
        return f"update of {self.agent_id} ({self.state})"

    @property
    def is_unused(self) -> bool:
        """Return whether it was accepted, and its round ended without a version."""
        return self.state == UpdateState.ACCEPTED and self.round.state == RoundState.FAILED

    @property
    def train_seconds(self) -> float | None:
        """Return how long the agent trained, features included."""
        return None if self.train_ms is None else self.train_ms / 1000
