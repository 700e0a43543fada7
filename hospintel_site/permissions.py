"""The default permission of every API view: closed."""

from typing import TYPE_CHECKING

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

if TYPE_CHECKING:
    # DRF reads its default permission while it defines APIView: importing that here would go round in a circle.
    from rest_framework.views import APIView


class DenyAll(BasePermission):
    """The default of every API view: each view names its own permission, or nobody gets in."""

    message = "This call is not open to you."

    def has_permission(self, request: Request, view: "APIView") -> bool:  # noqa: ARG002 - DRF's signature
        """Refuse."""
        return False
