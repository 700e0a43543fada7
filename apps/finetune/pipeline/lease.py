"""The lease: take it, hold on to it, give it back. The database decides who has it."""

from datetime import timedelta

from django.conf import settings
from django.db import IntegrityError
from django.utils import timezone

from apps.accounts.models import User
from apps.accounts.roles import may
from apps.audit.api import Conflict, advance, record, transaction
from apps.federation.models import Federation
from apps.federation.pipeline.bootstrap import DEFAULT_SLUG
from apps.federation.pipeline.membership import require_member
from apps.federation.pipeline.step import Refusal
from apps.finetune.models import Lease
from apps.finetune.pipeline.finish import end_jobs_of_lease
from apps.finetune.states import LeaseState
from hospintel_core.failpoints import reach

SYSTEM = "system:tick"


def default_federation() -> Federation:
    """Return the federation that calls without a name mean."""
    return Federation.objects.get(pk=DEFAULT_SLUG)


def duration() -> timedelta:
    """Return how long a lease lasts without a write of its holder."""
    return timedelta(minutes=settings.LEASE_MINUTES)


def current(federation: Federation) -> Lease | None:
    """Return the lease that holds now, if there is one."""
    held = Lease.objects.filter(federation=federation, state=LeaseState.HELD, until__gt=timezone.now())
    return held.select_related("holder").first()


def take(user: User, federation: Federation | None = None) -> Lease:
    """Take the lease of a federation (of `brain-mri` where none is named); who has it already keeps it, renewed.

    Raises:
        Refusal: `not_a_member` (403); `lease_held` (409), with `holder` and `until`, where somebody else has it.
    """
    federation = federation or default_federation()
    require_member(user, federation)
    try:
        with transaction():
            lease = _taken(user, federation)
            reach("lease_take.before_commit")
    except (IntegrityError, Conflict) as error:
        # Two at once: the database lets one in.
        held = current(federation)
        if held is not None and held.holder_id == user.pk:
            return held
        raise _held(held) from error
    reach("lease_take.committed")
    return lease


def _taken(user: User, federation: Federation) -> Lease:
    now = timezone.now()
    held = Lease.objects.filter(federation=federation, state=LeaseState.HELD).select_related("holder").first()
    if held is not None and held.until <= now:
        _end(held, LeaseState.EXPIRED, actor=SYSTEM, by="time")
    elif held is not None and held.holder_id != user.pk:
        raise _held(held)
    elif held is not None:
        return renew(held)
    last = Lease.objects.filter(federation=federation).order_by("-token").first()
    lease = Lease.objects.create(
        federation=federation, holder=user, token=(last.token if last else 0) + 1, since=now, until=now + duration()
    )
    record("lease.take", actor=user.actor, obj=lease, federation=federation.slug, token=lease.token)
    return lease


def _held(lease: Lease | None) -> Refusal:
    if lease is None:
        return Refusal("lease_held", "Somebody else was quicker. Try again.", 409)
    name, until = lease.holder.get_username(), lease.until
    detail = f"{name} has the fine-tuning lease until {until:%H:%M} UTC, longer while they work."
    return Refusal("lease_held", detail, 409, holder=name, until=until.isoformat())


def renew(lease: Lease) -> Lease:
    """Let a lease that still holds last on from now. Raises Refusal(lease_lost, 409) if it does not hold any more."""
    guard(lease.federation_id, lease.token)
    lease.refresh_from_db(fields=["until"])
    return lease


def guard(federation_slug: str, token: int) -> None:
    """Let the lease with this token last on from now; every write under it calls this in its own transaction.

    It is what keeps a stale holder out: the lease's row is held until the commit.

    Raises:
        Refusal: `lease_lost` (409) where it does not hold any more.
    """
    now = timezone.now()
    held = Lease.objects.filter(federation=federation_slug, token=token, state=LeaseState.HELD, until__gt=now)
    if held.update(until=now + duration()) != 1:
        raise lost()


def held_by(user: User, federation: Federation) -> Lease:
    """Return the lease that this person has now, renewed: every write of theirs asks first, in its transaction.

    Raises:
        Refusal: `not_a_member` (403); `lease_lost` (409) where they have none (any more).
    """
    require_member(user, federation)
    held = Lease.objects.filter(federation=federation, holder=user, state=LeaseState.HELD).first()
    if held is None:
        raise lost()
    return renew(held)


def lost() -> Refusal:
    """Return the refusal of a write without the lease."""
    return Refusal("lease_lost", "You do not have the fine-tuning lease (any more). Take it first.", 409)


def release(user: User, *, by: str, actor: str = "") -> int:
    """Give back all leases of a person. Returns how many.

    Args:
        user: the holder.
        by: why, for the audit: "holder" or "logout"; "deactivated", "role", "hospital" or "admin" where somebody else
            ended what the person may do.
        actor: who did that; the holder where it is left out.
    """
    count = 0
    for lease in Lease.objects.filter(holder=user, state=LeaseState.HELD):
        count += _ended(lease, LeaseState.RELEASED, actor=actor or user.actor, by=by)
    return count


def give_back(user: User, federation: Federation) -> None:
    """End the lease of a federation: one's own, or anybody's for those who may.

    Raises:
        Refusal: `lease_lost` (409) where there is none that this person may end.
    """
    lease = current(federation)
    if lease is None or (lease.holder_id != user.pk and not may(user, "end_leases")):
        raise lost()
    by = "holder" if lease.holder_id == user.pk else "admin"
    _ended(lease, LeaseState.RELEASED, actor=user.actor, by=by)


def expire_leases() -> int:
    """End the leases whose time is over. Returns how many."""
    overdue = Lease.objects.filter(state=LeaseState.HELD, until__lte=timezone.now())
    return sum(_ended(lease, LeaseState.EXPIRED, actor=SYSTEM, by="time") for lease in overdue)


def _ended(lease: Lease, to: LeaseState, *, actor: str, by: str) -> bool:
    try:
        with transaction():
            _end(lease, to, actor=actor, by=by)
            reach("lease_end.before_commit")
    except Conflict:
        # It has ended in the same moment, or was renewed.
        return False
    reach("lease_end.committed")
    return True


def _end(lease: Lease, to: LeaseState, *, actor: str, by: str) -> None:
    # Its holder may have written since it was read: then its time is not over.
    if to == LeaseState.EXPIRED and not Lease.objects.filter(pk=lease.pk, until=lease.until).update(until=lease.until):
        raise Conflict("The lease was renewed.")
    advance(lease, to, actor=actor, changes={"ended_at": timezone.now()}, federation=lease.federation_id, by=by)
    end_jobs_of_lease(lease.federation_id, lease.token, actor=actor)
