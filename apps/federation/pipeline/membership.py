"""Who belongs to a federation: whose hospital takes part in it, and administrators. Only they act in it."""

from django.db.models import QuerySet

from apps.accounts.models import User
from apps.accounts.roles import may
from apps.federation.models import Federation, Participation
from apps.federation.pipeline.step import Refusal

NOT_A_MEMBER = (
    "This is for people of the hospitals that train this model, and your account belongs to none of them. "
    "An administrator adds you to your hospital, on the page People."
)


def participations_of(user: User, federation: Federation) -> QuerySet[Participation]:
    """Return where in a federation a person belongs: their hospitals that take part; all for administrators."""
    if may(user, "see_every_hospital"):
        return federation.participations.all()
    # The group carries the right and the membership explains it: both are asked for.
    return federation.participations.filter(hospital__members_group__user=user, hospital__memberships__user=user)


def is_member(user: User, federation: Federation) -> bool:
    """Return whether a person belongs to a federation; administrators do, even before any hospital takes part."""
    return may(user, "see_every_hospital") or participations_of(user, federation).exists()


def require_member(user: User, federation: Federation) -> None:
    """Let go on who belongs to a federation. Raises Refusal(not_a_member, 403) for others, doctors too."""
    if not is_member(user, federation):
        raise Refusal("not_a_member", NOT_A_MEMBER, 403)
