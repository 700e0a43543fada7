"""Signing in and out."""

import time
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode, urlsplit

from django.conf import settings
from django.contrib.auth import views as auth_views
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.crypto import constant_time_compare

from apps.accounts import pipeline
from apps.accounts.forms import SignInCodeForm, SignInForm
from apps.accounts.models import SessionEnd, User
from apps.audit.api import record, transaction
from hospintel_site.callers import client_address

# Where a session keeps who has given the right password and still owes a code; and for how long, in seconds.
PENDING, PENDING_SECONDS = "sign_in", 300


class LoginView(auth_views.LoginView):
    """The one login page, Django admin's included: name and password, and the code's page where there is one."""

    # Django's own would take PUT for POST.
    http_method_names = ["get", "head", "post", "options"]
    template_name = "accounts/login.html"
    authentication_form: Any = SignInForm
    redirect_authenticated_user = True

    def get_redirect_url(self, *arguments: Any, **named: Any) -> str:
        """Return where to go next; nowhere if that is here, which would never end."""
        target = super().get_redirect_url(*arguments, **named)
        return "" if urlsplit(target).path == self.request.path else target

    def form_valid(self, form: Any) -> HttpResponse:
        """Sign in, in this browser alone."""
        try:
            pipeline.begin_session(self.request, form.get_user(), address=client_address(self.request))
        except pipeline.AccountError as error:
            form.add_error(None, error.detail)
            return self.form_invalid(form)
        return HttpResponseRedirect(self.get_success_url())

    def get_context_data(self, **context: Any) -> dict[str, Any]:
        """Add why the last session of this browser ended."""
        return super().get_context_data(**context) | {"ended": _ended(self.request)}

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Sign in, or go on to the code; after too many wrong passwords or codes say when to come back."""
        try:
            return super().post(request, *args, **kwargs)
        except pipeline.CodeNeeded as needed:
            proof = needed.user.get_session_auth_hash()
            until = int(time.time()) + PENDING_SECONDS
            request.session[PENDING] = {"user": needed.user.pk, "proof": proof, "until": until}
            following = self.get_redirect_url()
            return redirect(
                reverse("accounts:login-code") + (f"?{urlencode({'next': following})}" if following else "")
            )
        except pipeline.Locked as locked:
            page = {"form": self._empty_form(), "locked": locked.detail, "next": self.get_redirect_url()}
            headers = {"Retry-After": str(locked.retry_after)}
            return HttpResponse(
                render_to_string(self.template_name, page, request),
                status=HTTPStatus.TOO_MANY_REQUESTS,
                headers=headers,
            )

    def _empty_form(self) -> Any:
        kept = {name: value for name, value in self.get_form_kwargs().items() if name not in {"data", "files"}}
        return self.get_form_class()(**kept)


class CodeView(LoginView):
    """The second step: a code of the app, or a recovery code."""

    template_name = "accounts/login_code.html"
    authentication_form = SignInCodeForm
    known: User

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Send back to the first step whoever has not been there lately."""
        if str(request.method).lower() not in self.http_method_names:
            return self.http_method_not_allowed(request)
        known = _pending(request)
        if known is None and not request.user.is_authenticated:
            return redirect("accounts:login")
        if known is not None:
            self.known = known
        return super().dispatch(request, *args, **kwargs)

    def get_form_kwargs(self) -> dict[str, Any]:
        """Add who has given the right password."""
        return super().get_form_kwargs() | {"known": self.known}

    def form_valid(self, form: Any) -> HttpResponse:
        """Sign in; what was kept for this step is done with."""
        self.request.session.pop(PENDING, None)
        return super().form_valid(form)


def _ended(request: HttpRequest) -> str:
    """Return the sentence about why the last session of this browser ended; "" if there is nothing to say."""
    why = request.META.get("hospintel.session_end") or request.COOKIES.get(settings.SESSION_END_COOKIE_NAME, "")
    return str(SessionEnd(why).label) if why in SessionEnd.values else ""


def _pending(request: HttpRequest) -> User | None:
    """Return who has given the right password in this browser lately, unless it was changed since."""
    kept = request.session.get(PENDING)
    if not kept or kept["until"] < time.time():
        return None
    user = User.objects.filter(pk=kept["user"], is_active=True).first()
    return user if user and constant_time_compare(user.get_session_auth_hash(), kept["proof"]) else None


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
