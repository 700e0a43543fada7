"""Whose figures and events a person may see."""

from uuid import UUID

from guardian.shortcuts import get_objects_for_user

from apps.accounts.models import User
from apps.accounts.roles import may


def own_hospitals(user: User) -> set[UUID] | None:
    """Return the hospitals whose own figures and refusals a person may see; None means all.

    The group carries the right (`view_hospital`, django-guardian) and the membership explains it. Where one of them is
    missing, nobody gets in.
    """
    if may(user, "see_every_hospital"):
        return None
    allowed = get_objects_for_user(user, "accounts.view_hospital", with_superuser=False, accept_global_perms=False)
    explained = user.memberships.filter(hospital__in=allowed, hospital__members_group__user=user)
    return set(explained.values_list("hospital", flat=True))


def visibilities(user: User) -> list[str] | None:
    """Return the visibilities of the audit that a person may see; None means all."""
    hospitals = own_hospitals(user)
    if hospitals is None:
        return None
    return ["everyone", *(f"hospital:{pk}" for pk in sorted(hospitals))]
