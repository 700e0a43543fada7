"""A hospital's agent and the one-time code that enrols it."""

import uuid
from datetime import datetime, timedelta
from typing import ClassVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.db import models
from django.db.models.functions import Now
from django.utils import timezone

from apps.federation.states import AGENT_TRANSITIONS, CODE_TRANSITIONS, AgentState, CodeState, Transitions
from hospintel_core import signing


class AgentQuerySet(models.QuerySet["Agent"]):
    """Reads on agents."""

    def active(self) -> "AgentQuerySet":
        """Return the agents that are not revoked."""
        return self.filter(state=AgentState.ACTIVE)

    def of(self, federation_slug: str) -> "AgentQuerySet":
        """Return the agents whose hospital takes part in the federation."""
        return self.filter(hospital__participations__federation=federation_slug)

    def seen_since(self, moment: datetime) -> "AgentQuerySet":
        """Return the agents that asked for a task since the moment."""
        return self.filter(last_seen__gte=moment)


class Agent(models.Model):
    """A hospital's agent: the token reads, the key writes."""

    TRANSITIONS: ClassVar[Transitions] = AGENT_TRANSITIONS

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    hospital = models.ForeignKey("accounts.Hospital", on_delete=models.PROTECT, related_name="agents")
    state = models.CharField(max_length=10, choices=AgentState.choices, default=AgentState.ACTIVE)
    public_key = models.BinaryField(max_length=32)
    token_hash = models.CharField(max_length=64, unique=True)
    max_samples = models.PositiveIntegerField()
    version = models.CharField(max_length=40, blank=True)
    last_seen = models.DateTimeField(null=True)
    enrolled_at = models.DateTimeField(db_default=Now())

    objects = AgentQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.hospital} ({str(self.id)[:8]})"

    @property
    def key(self) -> Ed25519PublicKey:
        """Return the Ed25519 key that signs this agent's updates and reports."""
        return signing.ed25519_from_raw(bytes(self.public_key))

    @property
    def fingerprint(self) -> str:
        """Return the key's fingerprint as both sides print it."""
        return signing.fingerprint(self.key)

    @property
    def actor(self) -> str:
        """Return the name under which the audit knows this agent."""
        return f"agent:{self.id}"

    def is_online(self, within_seconds: int) -> bool:
        """Return whether the agent asked for a task in the last seconds."""
        return self.last_seen is not None and self.last_seen >= timezone.now() - timedelta(seconds=within_seconds)


class EnrolmentCode(models.Model):
    """A one-time code (256 bit; only its SHA-256 is kept) with which one agent enrols."""

    AUDIT_NAME: ClassVar[str] = "code"
    TRANSITIONS: ClassVar[Transitions] = CODE_TRANSITIONS

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    hospital = models.ForeignKey("accounts.Hospital", on_delete=models.PROTECT, related_name="codes")
    code_hash = models.CharField(max_length=64, unique=True)
    state = models.CharField(max_length=10, choices=CodeState.choices, default=CodeState.ISSUED)
    max_samples = models.PositiveIntegerField(default=100_000)
    expires_at = models.DateTimeField()
    agent = models.OneToOneField(Agent, null=True, on_delete=models.PROTECT, related_name="code")
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"code for {self.hospital} ({self.state})"
