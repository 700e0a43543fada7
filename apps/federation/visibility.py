"""Which events a person may see: everyone's, their hospitals', and for admins all."""

from apps.accounts.models import Role, User


def visibilities(user: User) -> list[str] | None:
    """Return the visibilities of the audit that a person may see; None means all."""
    if user.role == Role.ADMIN:
        return None
    hospitals = user.memberships.values_list("hospital", flat=True)
    return ["everyone", *(f"hospital:{pk}" for pk in hospitals)]
