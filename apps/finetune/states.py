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


class JobState(TextChoices):
    """DRAFT -> QUEUED -> PREPARING -> TRAINING -> DONE -> PROPOSED; before DONE also -> FAILED(code) | CANCELLED(code).

    A job that a worker lost while it trained is prepared again.
    """

    DRAFT = "DRAFT"
    QUEUED = "QUEUED"
    PREPARING = "PREPARING"
    TRAINING = "TRAINING"
    DONE = "DONE"
    PROPOSED = "PROPOSED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


# With a worker, or waiting for one.
JOB_WORKING = frozenset({JobState.QUEUED, JobState.PREPARING, JobState.TRAINING})
# Its scans are here.
JOB_ACTIVE = JOB_WORKING | {JobState.DRAFT}

LEASE_TRANSITIONS: Transitions = {LeaseState.HELD: frozenset({LeaseState.RELEASED, LeaseState.EXPIRED})}
MODEL_UPLOAD_TRANSITIONS: Transitions = {
    ModelUploadState.RECEIVED: frozenset({ModelUploadState.READING}),
    ModelUploadState.READING: frozenset(
        {ModelUploadState.RECEIVED, ModelUploadState.PROPOSED, ModelUploadState.REFUSED}
    ),
}
JOB_TRANSITIONS: Transitions = {
    JobState.DRAFT: frozenset({JobState.QUEUED, JobState.CANCELLED}),
    JobState.QUEUED: frozenset({JobState.PREPARING, JobState.FAILED, JobState.CANCELLED}),
    JobState.PREPARING: frozenset({JobState.TRAINING, JobState.FAILED, JobState.CANCELLED}),
    JobState.TRAINING: frozenset({JobState.PREPARING, JobState.DONE, JobState.FAILED, JobState.CANCELLED}),
    JobState.DONE: frozenset({JobState.PROPOSED}),
}
