"""The legal states and transitions of the workbench, as data. `apps.audit.api.advance` is their only writer."""

from django.db.models import TextChoices

from apps.federation.states import Transitions


class LeaseState(TextChoices):
    """Who has the lease may write; it ends by its holder, by signing out, by an administrator, or by time."""

    HELD = "HELD"
    RELEASED = "RELEASED"
    EXPIRED = "EXPIRED"


class ModelUploadState(TextChoices):
    """A worker reads what was received; a file whose worker died is received once more."""

    RECEIVED = "RECEIVED"
    READING = "READING"
    PROPOSED = "PROPOSED"
    REFUSED = "REFUSED"


MODEL_UPLOAD_LIVE = frozenset({ModelUploadState.RECEIVED, ModelUploadState.READING})

LEASE_TRANSITIONS: Transitions = {LeaseState.HELD: frozenset({LeaseState.RELEASED, LeaseState.EXPIRED})}
MODEL_UPLOAD_TRANSITIONS: Transitions = {
    ModelUploadState.RECEIVED: frozenset({ModelUploadState.READING}),
    ModelUploadState.READING: frozenset(
        {ModelUploadState.RECEIVED, ModelUploadState.PROPOSED, ModelUploadState.REFUSED}
    ),
}
