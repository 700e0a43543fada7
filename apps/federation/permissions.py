"""Who may call what, for signed-in people: `apps/accounts/roles.py` is the table."""

from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from apps.accounts.models import User
from apps.accounts.roles import MAY, may


def allowed(what: str) -> type[BasePermission]:
    """Return the permission that is open to people whose role allows `what`, a line of the table (else KeyError)."""
    if what not in MAY:
        raise KeyError(what)

    class Allowed(BasePermission):
        message = "Your role does not allow this."
        code = "permission_denied"

        def has_permission(self, request: Request, view: APIView) -> bool:  # noqa: ARG002 - DRF's signature
            if isinstance(request.user, User) and request.user.must_enrol:
                self.message = "Set up a second factor on the portal first."
                self.code = "second_factor_needed"
            return may(request.user, what)

    return Allowed
