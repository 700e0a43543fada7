"""Django admin, with our own login page in front of it."""

from functools import update_wrapper
from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse

METHODS = ("GET", "HEAD", "POST")


class HubAdminSite(AdminSite):
    """An operations desk for administrators: mostly for looking; changes go through the pipeline and the audit."""

    site_header = "Hospintel administration"
    site_title = "Hospintel"
    index_title = "Operations"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Make the site, without the action that deletes whatever is ticked: deletions go one by one, by their page."""
        super().__init__(*args, **kwargs)
        self.disable_action("delete_selected")

    def has_permission(self, request: HttpRequest) -> bool:
        """Return whether this person may come in at all."""
        from apps.accounts.roles import may  # noqa: PLC0415 - needs the models, which load after us

        return may(request.user, "open_admin")

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:  # noqa: FBT001, FBT002 - Django's signature
        """Refuse people who are signed in and no administrators: the login page would send them back, without end.

        Django's pages answer any method as if it were GET; here only those that they were made for get in.
        """
        guarded = super().admin_view(view, cacheable)

        def inner(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if request.user.is_authenticated and not self.has_permission(request):
                from apps.accounts.roles import door, refuse  # noqa: PLC0415 - as above

                if elsewhere := door(request):
                    return elsewhere
                refuse(request, "open_admin")
            if request.method not in METHODS:
                return HttpResponseNotAllowed(METHODS)
            answer: HttpResponseBase = guarded(request, *args, **kwargs)
            return answer

        return update_wrapper(inner, guarded)

    def get_urls(self) -> list[Any]:
        """Return Django's addresses but for "view on site": no row has such a page, a wrong id would be an error."""
        return [address for address in super().get_urls() if getattr(address, "name", None) != "view_on_site"]

    def login(self, request: HttpRequest, extra_context: dict[str, object] | None = None) -> HttpResponse:  # noqa: ARG002
        """Send people to the portal's login page: one door, one audit trail."""
        return redirect_to_login(request.GET.get("next") or reverse("admin:index"))

    def logout(self, request: HttpRequest, extra_context: dict[str, object] | None = None) -> Any:  # noqa: ARG002
        """Sign out as the portal does, with its audit entry."""
        from apps.accounts.views.sign_in import LogoutView  # noqa: PLC0415 - its forms need the models, which load after us

        return LogoutView.as_view()(request)

    def password_change(self, request: HttpRequest, extra_context: dict[str, object] | None = None) -> Any:  # noqa: ARG002
        """Lead to the portal's page of the own account: one place where a password is changed."""
        return redirect("accounts:account")
