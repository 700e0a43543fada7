"""The own account: role, hospitals, sessions, theme, password."""

from http import HTTPStatus
from typing import cast

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.accounts import pipeline
from apps.accounts.context import session_left
from apps.accounts.forms import OwnPasswordForm
from apps.accounts.models import User
from apps.accounts.pipeline import sessions, tokens
from apps.accounts.roles import require
from hospintel_site.callers import client_address


@require_safe
@require("see_own_account")
def account(request: HttpRequest) -> HttpResponseBase:
    """Show the reader's own account."""
    return _page(request, OwnPasswordForm(_person(request)))


@require_POST
@require("see_own_account")
def new_password(request: HttpRequest) -> HttpResponseBase:
    """Change the reader's password; this browser stays signed in."""
    user = _person(request)
    form = OwnPasswordForm(user, request.POST)
    if not form.is_valid():
        return _page(request, form)
    old, new, address = form.cleaned_data["old_password"], form.cleaned_data["new_password1"], client_address(request)
    try:
        pipeline.change_password(user, old, new, address=address)
    except pipeline.Locked as locked:
        form.add_error("old_password", locked.detail)
        answer = _page(request, form, status=429)
        answer.headers["Retry-After"] = str(locked.retry_after)
        return answer
    except pipeline.AccountError as error:
        form.add_error("old_password", error.detail)
        return _page(request, form)
    sessions.note_proof(request.session)
    # This browser stays signed in, under a new session key.
    update_session_auth_hash(request, user)
    messages.success(request, "Your password is changed.")
    return redirect("accounts:account")


@require_POST
@require("see_own_account")
def revoke_token(request: HttpRequest, pk: int) -> HttpResponseBase:
    """End one of the reader's tokens."""
    tokens.revoke(_person(request), pk)
    messages.success(request, "The token is revoked: the program's next call is refused.")
    return redirect("accounts:account")


@never_cache
@require_http_methods(["GET", "POST"])
def session(request: HttpRequest) -> HttpResponseBase:
    """Say in how many seconds the session ends; POST makes it last, as any step does."""
    if not request.user.is_authenticated:
        return JsonResponse({"code": "not_authenticated", "detail": "Sign in."}, status=HTTPStatus.UNAUTHORIZED)
    return JsonResponse(session_left(request))


def _person(request: HttpRequest) -> User:
    """Return who is signed in; only for views behind `require`."""
    return cast("User", request.user)


def _page(request: HttpRequest, form: OwnPasswordForm, status: int = 200) -> HttpResponse:
    user = _person(request)
    context = {
        "form": form,
        "tokens": tokens.tokens_of(user),
        "token_hours": settings.TOKEN_HOURS,
        "idle_minutes": settings.SESSION_IDLE_SECONDS // 60,
        "longest_hours": settings.SESSION_LONGEST_SECONDS // 3600,
        "hospitals": [one.hospital for one in user.memberships.select_related("hospital").order_by("hospital__name")],
    }
    return render(request, "accounts/account.html", context, status=status)
