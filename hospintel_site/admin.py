"""Django admin, with our own login page in front of it."""

from django.contrib.admin import AdminSite
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.urls import reverse


class HubAdminSite(AdminSite):
    """An operations desk for administrators: mostly for looking; changes go through the pipeline and the audit."""

    site_header = "Hospintel administration"
    site_title = "Hospintel"
    index_title = "Operations"

    def login(self, request: HttpRequest, extra_context: dict[str, object] | None = None) -> HttpResponse:  # noqa: ARG002
        """Send people to the portal's login page: one door, one audit trail."""
        return redirect_to_login(request.GET.get("next") or reverse("admin:index"))
