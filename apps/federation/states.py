"""The legal states and transitions of everything that moves, as data.

`apps.audit.api.advance` is the only writer of a state and reads these tables.
"""

from collections.abc import Mapping

from django.db.models import TextChoices

Transitions = Mapping[str, frozenset[str]]


class AgentState(TextChoices):
    """An agent works until it is revoked."""

    ACTIVE = "ACTIVE"
    REVOKED = "REVOKED"


class CodeState(TextChoices):
    """A one-time enrolment code."""

    ISSUED = "ISSUED"
    USED = "USED"
    EXPIRED = "EXPIRED"


class RunState(TextChoices):
    """A run owns rounds until it has as many published ones as were wanted."""

    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    DONE = "DONE"
    ABORTED = "ABORTED"


class RoundState(TextChoices):
    """COLLECTING -> AGGREGATING -> EVALUATING -> PUBLISHED | HELD, from any active state -> FAILED(reason)."""

    COLLECTING = "COLLECTING"
    AGGREGATING = "AGGREGATING"
    EVALUATING = "EVALUATING"
    PUBLISHED = "PUBLISHED"
    HELD = "HELD"
    FAILED = "FAILED"


class UpdateState(TextChoices):
    """RECEIVED -> ACCEPTED | REFUSED, ACCEPTED -> CONSUMED | REFUSED."""

    RECEIVED = "RECEIVED"
    ACCEPTED = "ACCEPTED"
    REFUSED = "REFUSED"
    CONSUMED = "CONSUMED"


class Presence(TextChoices):
    """What became of an agent in a round that has closed.

    IN: its update was accepted. REFUSED: what it sent was refused. LATE: it has called since the round opened, and had
    no accepted update when it closed. ABSENT: it has not called. NOT_SELECTED: the round asked others. NOT_NEEDED: it
    was asked, and enough others came first.
    """

    IN = "IN"
    REFUSED = "REFUSED"
    LATE = "LATE"
    ABSENT = "ABSENT"
    NOT_SELECTED = "NOT_SELECTED"
    NOT_NEEDED = "NOT_NEEDED"


class Selection(TextChoices):
    """Whom a round asks of the agents that are online."""

    ALL = "all"
    RANDOM = "random"
    FRESHNESS = "freshness"


class VersionState(TextChoices):
    """CANDIDATE -> PUBLISHED | HELD | REJECTED (its round failed), HELD -> PUBLISHED | REJECTED."""

    CANDIDATE = "CANDIDATE"
    PUBLISHED = "PUBLISHED"
    HELD = "HELD"
    REJECTED = "REJECTED"


class ValidationState(TextChoices):
    """RECEIVING -> PREPARING -> READY -> REPLACED; to FAILED(code) or DELETED before its end."""

    RECEIVING = "RECEIVING"
    PREPARING = "PREPARING"
    READY = "READY"
    REPLACED = "REPLACED"
    FAILED = "FAILED"
    DELETED = "DELETED"


class KeyState(TextChoices):
    """A hub key: pending -> active -> decrypt-only -> destroyed."""

    PENDING = "PENDING"
    ACTIVE = "ACTIVE"
    DECRYPT_ONLY = "DECRYPT_ONLY"
    DESTROYED = "DESTROYED"


RUN_ACTIVE = frozenset({RunState.RUNNING, RunState.PAUSED})
ROUND_ACTIVE = frozenset({RoundState.COLLECTING, RoundState.AGGREGATING, RoundState.EVALUATING})
UPDATE_LIVE = frozenset({UpdateState.RECEIVED, UpdateState.ACCEPTED, UpdateState.CONSUMED})
UPDATE_TAKEN = frozenset({UpdateState.ACCEPTED, UpdateState.CONSUMED})

# On their way: one of a federation at a time.
VALIDATION_COMING = frozenset({ValidationState.RECEIVING, ValidationState.PREPARING})
# Their scans are here.
VALIDATION_LIVE = VALIDATION_COMING | {ValidationState.READY}

AGENT_TRANSITIONS: Transitions = {AgentState.ACTIVE: frozenset({AgentState.REVOKED})}
CODE_TRANSITIONS: Transitions = {CodeState.ISSUED: frozenset({CodeState.USED, CodeState.EXPIRED})}
RUN_TRANSITIONS: Transitions = {
    RunState.RUNNING: frozenset({RunState.PAUSED, RunState.DONE, RunState.ABORTED}),
    RunState.PAUSED: frozenset({RunState.RUNNING, RunState.ABORTED}),
}
ROUND_TRANSITIONS: Transitions = {
    RoundState.COLLECTING: frozenset({RoundState.AGGREGATING, RoundState.FAILED}),
    RoundState.AGGREGATING: frozenset({RoundState.EVALUATING, RoundState.FAILED}),
    RoundState.EVALUATING: frozenset({RoundState.PUBLISHED, RoundState.HELD, RoundState.FAILED}),
}
UPDATE_TRANSITIONS: Transitions = {
    UpdateState.RECEIVED: frozenset({UpdateState.ACCEPTED, UpdateState.REFUSED}),
    # Refused after all: its agent was revoked while the round was open.
    UpdateState.ACCEPTED: frozenset({UpdateState.CONSUMED, UpdateState.REFUSED}),
}
VERSION_TRANSITIONS: Transitions = {
    VersionState.CANDIDATE: frozenset({VersionState.PUBLISHED, VersionState.HELD, VersionState.REJECTED}),
    VersionState.HELD: frozenset({VersionState.PUBLISHED, VersionState.REJECTED}),
}
KEY_TRANSITIONS: Transitions = {
    KeyState.PENDING: frozenset({KeyState.ACTIVE}),
    KeyState.ACTIVE: frozenset({KeyState.DECRYPT_ONLY}),
    KeyState.DECRYPT_ONLY: frozenset({KeyState.DESTROYED}),
}
VALIDATION_TRANSITIONS: Transitions = {
    ValidationState.RECEIVING: frozenset({ValidationState.PREPARING, ValidationState.DELETED}),
    ValidationState.PREPARING: frozenset({ValidationState.READY, ValidationState.FAILED, ValidationState.DELETED}),
    # Failed after all: its scans cannot be read any more.
    ValidationState.READY: frozenset({ValidationState.REPLACED, ValidationState.FAILED, ValidationState.DELETED}),
}
