"""Enrolment: an admin issues a one-time code, an agent proves that it holds its key, the hub answers with a token."""

import hashlib
import secrets
import uuid
from dataclasses import dataclass
from datetime import timedelta

from django.utils import timezone

from apps.accounts.models import Hospital
from apps.accounts.pipeline import create_hospital
from apps.audit.api import Conflict, advance, record, transaction
from apps.federation.models import Agent, EnrolmentCode, Federation, Participation
from apps.federation.pipeline.step import Refusal
from apps.federation.states import CodeState
from hospintel_core import signing
from hospintel_core.errors import CoreError

CODE_MINUTES = 60
MAX_SAMPLES = 100_000
MOST_MINUTES = 7 * 24 * 60
MOST_SAMPLES = 10_000_000
CODE_BYTES = 32


def secret_hash(secret: str) -> str:
    """Return the SHA-256 under which a 256-bit code or token is stored (random, so it needs no slow hash)."""
    return hashlib.sha256(secret.encode()).hexdigest()


def join(federation: Federation, hospital: Hospital, *, actor: str) -> Participation:
    """Let a hospital take part in a federation; nothing happens where it does already."""
    existing = Participation.objects.filter(federation=federation, hospital=hospital).first()
    if existing is not None:
        return existing
    with transaction():
        participation = Participation.objects.create(federation=federation, hospital=hospital)
        record("federation.join", actor=actor, obj=hospital, federation=federation.slug)
    return participation


def switch_workbench(participation: Participation, *, on: bool, actor: str) -> None:
    """Let the doctors of a hospital bring scans to the hub to fine-tune with, or no more."""
    with transaction():
        if Participation.objects.filter(pk=participation.pk, workbench=not on).update(workbench=on):
            hospital = participation.hospital
            record("hospital.workbench", actor=actor, obj=hospital, visibility=hospital.visibility, on=on)
    participation.workbench = on


def add_hospital(federation: Federation, name: str, *, actor: str) -> Hospital:
    """Create a hospital that takes part in a federation. Raises AccountError(name_invalid | name_taken)."""
    with transaction():
        hospital = create_hospital(name, actor=actor)
        join(federation, hospital, actor=actor)
    return hospital


def issue_code(
    hospital: Hospital, *, actor: str, minutes: int = CODE_MINUTES, max_samples: int = MAX_SAMPLES
) -> tuple[str, EnrolmentCode]:
    """Issue a one-time enrolment code.

    Args:
        hospital: whose agent will enrol.
        actor: who issues it, for the audit.
        minutes: how long the code may be used.
        max_samples: the most training scans that the agent may claim in an update.

    Returns:
        The code in clear (shown once, never stored) and its row.
    """
    code = secrets.token_urlsafe(CODE_BYTES)
    with transaction():
        row = EnrolmentCode.objects.create(
            hospital=hospital,
            code_hash=secret_hash(code),
            max_samples=max_samples,
            expires_at=timezone.now() + timedelta(minutes=minutes),
        )
        record(
            "code.issue",
            actor=actor,
            obj=row,
            visibility=hospital.visibility,
            hospital=str(hospital.pk),
            minutes=minutes,
            max_samples=max_samples,
        )
    return code, row


@dataclass(frozen=True)
class Enrolled:
    """What an agent gets at enrolment; the token is never shown again."""

    agent: Agent
    token: str
    federations: list[str]


def _usable_code(code: str) -> EnrolmentCode:
    row = EnrolmentCode.objects.select_related("hospital").filter(code_hash=secret_hash(code)).first()
    if row is None:
        raise Refusal("code_unknown", "This enrolment code is not known here.", 403)
    if row.state == CodeState.USED:
        raise Refusal("code_used", "This enrolment code was used already. Ask the hub's admin for a new one.", 403)
    if row.state == CodeState.EXPIRED or row.expires_at <= timezone.now():
        raise Refusal("code_expired", "This enrolment code has expired. Ask the hub's admin for a new one.", 403)
    return row


def enrol(*, code: str, public_key: bytes, proof: bytes, agent_version: str) -> Enrolled:
    """Enrol an agent.

    Args:
        code: the one-time code.
        public_key: the agent's Ed25519 key, 32 bytes raw.
        proof: Ed25519 signature over `signing.enrol_proof_message(code, public_key)`.
        agent_version: what the agent says of itself.

    Raises:
        Refusal: `code_unknown`, `code_used`, `code_expired` (403) or `proof_invalid` (400).
    """
    row = _usable_code(code)
    try:
        key = signing.ed25519_from_raw(public_key)
        signing.verify(signing.DOMAIN_ENROL, signing.enrol_proof_message(code, public_key), proof, key)
    except CoreError as error:
        raise Refusal("proof_invalid", "The agent did not prove that it holds its key.", 400) from error
    token = secrets.token_urlsafe(CODE_BYTES)
    try:
        agent = _consume(row, public_key=public_key, token=token, agent_version=agent_version)
    except Conflict as error:
        raise Refusal(
            "code_used", "This enrolment code was used already. Ask the hub's admin for a new one.", 403
        ) from error
    slugs = list(row.hospital.participations.values_list("federation", flat=True).order_by("federation"))
    return Enrolled(agent, token, slugs)


def _consume(row: EnrolmentCode, *, public_key: bytes, token: str, agent_version: str) -> Agent:
    with transaction():
        # The agent row must exist before the code can point at it; losing the race for the code rolls it back.
        agent = Agent.objects.create(
            id=uuid.uuid4(),
            hospital=row.hospital,
            public_key=public_key,
            token_hash=secret_hash(token),
            max_samples=row.max_samples,
            version=agent_version[:40],
        )
        own = row.hospital.visibility
        advance(row, CodeState.USED, actor=agent.actor, changes={"agent": agent}, visibility=own)
        record("agent.enrol", actor=agent.actor, obj=agent, hospital=str(row.hospital.pk), key=agent.fingerprint)
    return agent


def expire_codes(*, actor: str) -> int:
    """Expire the codes whose time is over. Returns how many."""
    issued = EnrolmentCode.objects.filter(state=CodeState.ISSUED, expires_at__lte=timezone.now())
    overdue = list(issued.select_related("hospital"))
    for row in overdue:
        with transaction():
            advance(row, CodeState.EXPIRED, actor=actor, visibility=row.hospital.visibility)
    return len(overdue)


def withdraw_code(row: EnrolmentCode, *, actor: str) -> None:
    """End a code before its time. Raises Conflict if it was used or has expired."""
    with transaction():
        advance(row, CodeState.EXPIRED, actor=actor, visibility=row.hospital.visibility, withdrawn=True)
