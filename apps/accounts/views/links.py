"""The pages of one-time links: a person's password, and the first administrator.

A link ends in `#` and its code. Browsers keep to themselves what stands after the `#`: no log of the hub, of a proxy or
of the next site has it. A script moves it into the form; without scripts it is pasted there.
"""

from http import HTTPStatus

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from apps.accounts import pipeline
from apps.accounts.forms import FirstAdminForm, LinkForm, NewPasswordForm
from apps.accounts.models import User
from hospintel_site.callers import client_address

ASK_ADMIN = "Ask an administrator for another."
START_AGAIN = "Start the hub again: it prints a new one."


def link_to(request: HttpRequest, page: str, token: str) -> str:
    """Return the link to a page of this module, with its code."""
    return f"{request.build_absolute_uri(reverse(page))}#{token}"


@never_cache
@require_http_methods(["GET", "POST"])
def password(request: HttpRequest) -> HttpResponse:
    """Set a password with a link that an administrator issued."""
    token = _token(request)
    link = pipeline.find_password_link(token)
    if link is None:
        return _ask(request, "Set your password", ASK_ADMIN)
    form = NewPasswordForm(link.user, request.POST if "new_password1" in request.POST else None)
    if form.is_valid():
        try:
            user = pipeline.use_password_link(token, form.cleaned_data["new_password1"])
            pipeline.begin_session(request, user, address=client_address(request))
        except pipeline.AccountError:
            return _ask(request, "Set your password", ASK_ADMIN)
        messages.success(request, "Your password is set. You are signed in.")
        return redirect("/")
    return render(request, "accounts/password_link.html", {"form": form, "person": link.user, "token": token})


@never_cache
@require_http_methods(["GET", "POST"])
def first_admin(request: HttpRequest) -> HttpResponse:
    """Make the first administrator with a link that `manage.py up` printed; say so where there is somebody already."""
    if User.objects.exists():
        return render(request, "accounts/first_admin_over.html", status=HTTPStatus.GONE)
    token = _token(request)
    if pipeline.find_first_admin_link(token) is None:
        return _ask(request, "The first administrator", START_AGAIN)
    form = FirstAdminForm(request.POST if "password1" in request.POST else None)
    if form.is_valid():
        name, chosen = form.cleaned_data["username"], form.cleaned_data["password1"]
        try:
            user = pipeline.create_first_admin(token, username=name, password=chosen)
            pipeline.begin_session(request, user, address=client_address(request))
        except pipeline.AccountError:
            return _ask(request, "The first administrator", START_AGAIN)
        return redirect("/")
    return render(request, "accounts/first_admin.html", {"form": form, "token": token})


def _token(request: HttpRequest) -> str:
    return request.POST.get("token", "").strip()


def _ask(request: HttpRequest, head: str, otherwise: str) -> HttpResponse:
    """Ask for the code; say of one that was sent that it opens nothing, in the same words whatever the reason."""
    form = LinkForm(request.POST or None)
    if form.is_valid():
        form.add_error(
            "token", f"This link is used, over, replaced by a newer one, or not copied to its end. {otherwise}"
        )
    return render(request, "accounts/link_code.html", {"form": form, "head": head})
