"""The right to fine-tune a federation's model: one person at a time."""

import uuid
from typing import ClassVar

from django.conf import settings
from django.db import models

from apps.federation.states import Transitions
from apps.finetune.states import LEASE_TRANSITIONS, LeaseState


class Lease(models.Model):
    """One person's turn. HELD -> RELEASED | EXPIRED; one of a federation is HELD at a time.

    `token` grows with each lease of a federation (a fencing token): what was begun under one lease is not written
    under another. `until` moves on with everything that the holder writes.
    """

    TRANSITIONS: ClassVar[Transitions] = LEASE_TRANSITIONS

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    federation = models.ForeignKey("federation.Federation", on_delete=models.PROTECT, related_name="leases")
    holder = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="leases")
    token = models.PositiveBigIntegerField()
    state = models.CharField(max_length=10, choices=LeaseState.choices, default=LeaseState.HELD)
    since = models.DateTimeField()
    until = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["federation"], condition=models.Q(state=LeaseState.HELD), name="lease_one_held"
            ),
            models.UniqueConstraint(fields=["federation", "token"], name="lease_token_once"),
        ]

    def __str__(self) -> str:
        return f"lease {self.token} of {self.federation_id} ({self.state})"
