"""Signing in and out, and the first administrator's page."""

from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from django.contrib.auth import views as auth_views
from django.contrib.auth.forms import AuthenticationForm
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from apps.accounts import pipeline
from apps.accounts.forms import FirstAdminForm, SignInForm
from apps.accounts.middleware import told_reason
from apps.accounts.models import User
from apps.audit.api import record, transaction
from hospintel_site.callers import client_address


class LoginView(auth_views.LoginView):
    """The one login page, Django admin's included."""

    # Django's own would take PUT for POST.
    http_method_names = ["get", "head", "post", "options"]
    template_name = "accounts/login.html"
    authentication_form = SignInForm
    redirect_authenticated_user = True

    def get_redirect_url(self, *arguments: Any, **named: Any) -> str:
        """Return where to go next; nowhere if that is here, which would never end."""
        target = super().get_redirect_url(*arguments, **named)
        return "" if urlsplit(target).path == self.request.path else target

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        """Sign in, in this browser alone."""
        try:
            pipeline.begin_session(self.request, form.get_user(), address=client_address(self.request))
        except pipeline.AccountError as error:
            form.add_error(None, error.detail)
            return self.form_invalid(form)
        return HttpResponseRedirect(self.get_success_url())

    def get_context_data(self, **context: Any) -> dict[str, Any]:
        """Add why the last session of this browser ended."""
        return super().get_context_data(**context) | {"ended": told_reason(self.request)}

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Sign in; after too many wrong passwords say when to come back."""
        try:
            return super().post(request, *args, **kwargs)
        except pipeline.Locked as locked:
            page = {"form": SignInForm(request), "locked": locked.detail, "next": self.get_redirect_url()}
            headers = {"Retry-After": str(locked.retry_after)}
            return HttpResponse(
                render_to_string(self.template_name, page, request),
                status=HTTPStatus.TOO_MANY_REQUESTS,
                headers=headers,
            )


class LogoutView(auth_views.LogoutView):
    """Signing out, by POST only."""

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Sign out, and record it."""
        user = request.user
        if not isinstance(user, User):
            return super().post(request, *args, **kwargs)
        with transaction():
            record("login.end", actor=user.actor, obj=user, visibility="admin")
            return super().post(request, *args, **kwargs)


@never_cache
@require_http_methods(["GET", "POST"])
def first_admin(request: HttpRequest, token: str) -> HttpResponse:
    """Make the first administrator with a link that `manage.py up` printed; 404 once it is used, late or not needed."""
    if pipeline.find_first_admin_link(token) is None:
        raise Http404
    form = FirstAdminForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            user = pipeline.create_first_admin(
                token, username=form.cleaned_data["username"], password=form.cleaned_data["password1"]
            )
            pipeline.begin_session(request, user, address=client_address(request))
        except pipeline.AccountError:
            raise Http404 from None
        return redirect("/")
    return render(request, "accounts/first_admin.html", {"form": form})
