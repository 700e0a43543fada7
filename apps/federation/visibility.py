"""Whose figures and events a person may see."""

from collections.abc import Collection
from uuid import UUID

from django.db.models import F
from guardian.models import GroupObjectPermission

from apps.accounts.models import Membership, User
from apps.accounts.roles import may


def own_hospitals(user: User) -> set[UUID] | None:
    """Return the hospitals whose own figures and refusals a person may see; None means all.

    The group carries the right (`view_hospital`, django-guardian) and the membership explains it. Where one of them is
    missing, nobody gets in.
    """
    return own_hospitals_of([user])[user.pk]


def own_hospitals_of(users: Collection[User]) -> dict[int, set[UUID] | None]:
    """Return `own_hospitals` of each of them, by the person's key; it costs as much for many as for one."""
    found: dict[int, set[UUID] | None] = {user.pk: None if may(user, "see_every_hospital") else set() for user in users}
    asked = [pk for pk, own in found.items() if own is not None]
    if not asked:
        return found
    rights = GroupObjectPermission.objects.filter(
        permission__codename="view_hospital", permission__content_type__app_label="accounts", group__user__in=asked
    )
    carried = set(rights.values_list("group__user", "object_pk"))
    explained = Membership.objects.filter(user__in=asked, hospital__members_group__user=F("user"))
    for person, hospital in explained.values_list("user", "hospital"):
        own = found[person]
        if own is not None and (person, str(hospital)) in carried:
            own.add(hospital)
    return found


def visibilities(user: User) -> list[str] | None:
    """Return the visibilities of the audit that a person may see; None means all."""
    return names_of(own_hospitals(user))


def names_of(hospitals: set[UUID] | None) -> list[str] | None:
    """Return the visibilities of whoever may see these hospitals' own; None means all."""
    if hospitals is None:
        return None
    return ["everyone", *(f"hospital:{pk}" for pk in sorted(hospitals))]
