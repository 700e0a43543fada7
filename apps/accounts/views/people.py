"""Everybody's accounts, for administrators: add, change, deactivate, sign out, issue a link that sets a password."""

from collections.abc import Callable
from typing import cast

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from apps.accounts import pipeline
from apps.accounts.forms import AddPersonForm, ChangePersonForm
from apps.accounts.models import Role, User
from apps.accounts.pipeline import second_factor
from apps.accounts.pipeline.passwords import LINK_HOURS
from apps.accounts.roles import require
from apps.accounts.views.links import link_to


@require_safe
@require("manage_people")
def people(request: HttpRequest) -> HttpResponseBase:
    """Show everybody, and the form that adds somebody."""
    return _list(request, AddPersonForm())


@require_POST
@require("manage_people")
def add_person(request: HttpRequest) -> HttpResponseBase:
    """Add a person and show the link with which they set their password, this once."""
    form = AddPersonForm(request.POST)
    if not form.is_valid():
        return _list(request, form)
    fields = form.cleaned_data
    try:
        user, token = pipeline.add_person(
            fields["username"], role=Role(fields["role"]), hospitals=list(fields["hospitals"]), actor=_actor(request)
        )
    except pipeline.AccountError as error:
        form.add_error("username", error.detail)
        return _list(request, form)
    return _link_page(request, user, token)


@require_safe
@require("manage_people")
def person_page(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Show one person's account."""
    user = get_object_or_404(User, pk=pk)
    own = list(user.memberships.values_list("hospital", flat=True))
    return _person_page(request, user, ChangePersonForm({"role": user.role, "hospitals": own}))


@require_POST
@require("manage_people")
def change_person(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Give a person another role or other hospitals."""
    user = get_object_or_404(User, pk=pk)
    form = ChangePersonForm(request.POST)
    if not form.is_valid():
        return _person_page(request, user, form)
    role, hospitals = Role(form.cleaned_data["role"]), list(form.cleaned_data["hospitals"])

    def change() -> None:
        pipeline.change_person(user, role=role, hospitals=hospitals, actor=_actor(request))

    return _act(request, user, f"{user} is changed.", change)


@require_POST
@require("manage_people")
def issue_link(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Issue a link that sets a person's password, and show it, this once."""
    user = get_object_or_404(User, pk=pk)
    try:
        token = pipeline.issue_password_link(user, actor=_actor(request))
    except pipeline.AccountError as error:
        messages.error(request, error.detail)
        return redirect("accounts:person", pk)
    return _link_page(request, user, token)


@require_POST
@require("manage_people")
def act_on_person(request: HttpRequest, pk: int, verb: str) -> HttpResponseBase:
    """Activate, deactivate or sign out a person, or reset their second factor."""
    user, actor = get_object_or_404(User, pk=pk), _actor(request)
    if verb == "activate":
        done = f"{user} may sign in again."
        return _act(request, user, done, lambda: pipeline.set_active(user, active=True, actor=actor))
    if verb == "deactivate":
        done = f"{user} is signed out and cannot sign in."
        return _act(request, user, done, lambda: pipeline.set_active(user, active=False, actor=actor))
    if verb == "reset-second-factor":
        done = f"{user} signs in with the password alone until a second factor is set up again."
        return _act(request, user, done, lambda: second_factor.reset(user, actor=actor))
    if verb == "sign-out":
        return _act(request, user, f"{user} is signed out.", lambda: pipeline.end_sessions(user, actor=actor))
    raise Http404


def _actor(request: HttpRequest) -> str:
    return cast("User", request.user).actor


def _act(request: HttpRequest, user: User, done: str, action: Callable[[], object]) -> HttpResponse:
    """Do it, say how it went on the person's page, and go there."""
    try:
        action()
        messages.success(request, done)
    except pipeline.AccountError as error:
        messages.error(request, error.detail)
    return redirect("accounts:person", user.pk)


def _list(request: HttpRequest, form: AddPersonForm) -> HttpResponse:
    everybody = User.objects.prefetch_related("memberships__hospital").order_by("-is_active", "username")
    return render(request, "accounts/people.html", {"people": everybody, "form": form})


def _person_page(request: HttpRequest, user: User, form: ChangePersonForm) -> HttpResponse:
    context = {"person": user, "form": form, "is_signed_in": pipeline.is_signed_in(user)}
    return render(request, "accounts/person.html", context)


def _link_page(request: HttpRequest, user: User, token: str) -> HttpResponse:
    link = link_to(request, "accounts:password-link", token)
    return render(request, "accounts/link.html", {"person": user, "link": link, "hours": LINK_HOURS})
