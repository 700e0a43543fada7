"""The own account: role, hospitals, sessions, theme, password; and the page of a link that sets a password."""

from typing import cast

from django.contrib import messages
from django.contrib.auth import login, update_session_auth_hash
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.accounts import pipeline
from apps.accounts.forms import NewPasswordForm, OwnPasswordForm
from apps.accounts.models import User
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
    """Change the reader's password; the other sessions end."""
    user = _person(request)
    form = OwnPasswordForm(user, request.POST)
    if not form.is_valid():
        return _page(request, form)
    old, new, address = form.cleaned_data["old_password"], form.cleaned_data["new_password1"], client_address(request)
    try:
        pipeline.change_password(user, old, new, address=address, session=request.session.session_key or "")
    except pipeline.Locked as locked:
        form.add_error("old_password", locked.detail)
        answer = _page(request, form, status=429)
        answer.headers["Retry-After"] = str(locked.retry_after)
        return answer
    except pipeline.AccountError as error:
        form.add_error("old_password", error.detail)
        return _page(request, form)
    # This browser stays signed in, under a new session key.
    update_session_auth_hash(request, user)
    messages.success(request, "Your password is changed. You are signed out everywhere else.")
    return redirect("accounts:account")


@require_POST
@require("see_own_account")
def sign_out_elsewhere(request: HttpRequest) -> HttpResponseBase:
    """End the reader's other sessions."""
    user = _person(request)
    ended = pipeline.end_sessions(user, actor=user.actor, keep=request.session.session_key or "")
    messages.success(request, f"{ended} other session{'' if ended == 1 else 's'} ended.")
    return redirect("accounts:account")


@never_cache
@require_http_methods(["GET", "POST"])
def password_link(request: HttpRequest, token: str) -> HttpResponse:
    """Set a password with a link that an administrator issued; 404 once it is used, late or wrong."""
    link = pipeline.find_password_link(token)
    if link is None:
        raise Http404
    form = NewPasswordForm(link.user, request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            user = pipeline.use_password_link(token, form.cleaned_data["new_password1"])
        except pipeline.AccountError:
            raise Http404 from None
        login(request, user, backend="django.contrib.auth.backends.ModelBackend")
        messages.success(request, "Your password is set. You are signed in.")
        return redirect("/")
    return render(request, "accounts/password_link.html", {"form": form, "person": link.user})


def _person(request: HttpRequest) -> User:
    """Return who is signed in; only for views behind `require`."""
    return cast("User", request.user)


def _page(request: HttpRequest, form: OwnPasswordForm, status: int = 200) -> HttpResponse:
    user = _person(request)
    context = {
        "form": form,
        "hospitals": [one.hospital for one in user.memberships.select_related("hospital").order_by("hospital__name")],
        "sessions": len(pipeline.sessions_of(user)),
    }
    return render(request, "accounts/account.html", context, status=status)
