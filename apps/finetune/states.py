"""The legal states and transitions of the workbench, as data. `apps.audit.api.advance` is their only writer."""

from django.db.models import TextChoices

from apps.federation.states import Transitions


class LeaseState(TextChoices):
    """Who has the lease may write; it ends by its holder, by signing out, by an administrator, or by time."""

    HELD = "HELD"
    RELEASED = "RELEASED"
    EXPIRED = "EXPIRED"


LEASE_TRANSITIONS: Transitions = {LeaseState.HELD: frozenset({LeaseState.RELEASED, LeaseState.EXPIRED})}
