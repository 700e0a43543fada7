"""Which events a person may see: everyone's, their hospitals', and for admins all."""

from uuid import UUID

from apps.accounts.models import User
from apps.accounts.roles import may


def own_hospitals(user: User) -> set[UUID] | None:
    """Return the hospitals whose own figures and refusals a person may see; None means all.

    The group carries the right and the membership explains it. Where one of them is missing, nobody gets in.
    """
    if may(user, "see_every_hospital"):
        return None
    explained = user.memberships.filter(hospital__members_group__user=user)
    return set(explained.values_list("hospital", flat=True))


def visibilities(user: User) -> list[str] | None:
    """Return the visibilities of the audit that a person may see; None means all."""
    hospitals = own_hospitals(user)
    if hospitals is None:
        return None
    return ["everyone", *(f"hospital:{pk}" for pk in sorted(hospitals))]
