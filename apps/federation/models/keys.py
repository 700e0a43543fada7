"""The public half and the state of the hub's long-lived keys; the private half is a file under HOSPINTEL_KEYS."""

from typing import ClassVar, cast

from cryptography.hazmat.primitives.serialization import load_pem_public_key
from django.db import models
from django.db.models.functions import Now

from apps.federation.states import KEY_TRANSITIONS, KeyState, Transitions
from hospintel_core import signing


class HubKey(models.Model):
    """An identity (Ed25519) or an RSA-3072 key of the hub, by its key id in hex."""

    class Kind(models.TextChoices):
        """What the key does: the identity signs manifests, RSA unwraps updates."""

        IDENTITY = "IDENTITY"
        RSA = "RSA"

    AUDIT_NAME: ClassVar[str] = "key"
    TRANSITIONS: ClassVar[Transitions] = KEY_TRANSITIONS

    kid = models.CharField(max_length=16, primary_key=True)
    kind = models.CharField(max_length=10, choices=Kind.choices)
    state = models.CharField(max_length=12, choices=KeyState.choices, default=KeyState.PENDING)
    public_pem = models.TextField()
    # A new identity is signed by the old one, so that an agent that pinned the old one can follow.
    signed_by = models.CharField(max_length=16, blank=True)
    signature = models.BinaryField(max_length=64, default=bytes)
    # And it signs the old one: whoever puts a row in between has no key that says so.
    countersignature = models.BinaryField(max_length=64, default=bytes)
    created_at = models.DateTimeField(db_default=Now())
    retired_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["kind"], condition=models.Q(state=KeyState.ACTIVE), name="hubkey_one_active"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.kid} ({self.state})"

    @property
    def fingerprint(self) -> str:
        """Return the key's fingerprint as both sides print it."""
        # One of ours: Ed25519 or RSA.
        return signing.fingerprint(cast("signing.PublicKey", load_pem_public_key(self.public_pem.encode())))
