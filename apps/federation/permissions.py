"""Who may call what, for signed-in people; `apps/accounts/roles.py` is the table."""

from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from apps.accounts.models import Role, User


class IsAdmin(BasePermission):
    """Open to signed-in admins."""

    message = "Only an admin may do this."

    def has_permission(self, request: Request, view: APIView) -> bool:  # noqa: ARG002 - DRF's signature
        """Return whether an admin calls."""
        return isinstance(request.user, User) and request.user.is_active and request.user.role == Role.ADMIN


class IsSignedIn(BasePermission):
    """Open to everyone who is signed in."""

    message = "Sign in first."

    def has_permission(self, request: Request, view: APIView) -> bool:  # noqa: ARG002 - DRF's signature
        """Return whether a person is signed in."""
        return isinstance(request.user, User) and request.user.is_active
