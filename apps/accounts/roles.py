"""Who may do what: one table. Pages, API permissions and tests all read it."""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Concatenate, NoReturn
from urllib.parse import urlsplit

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.utils.http import url_has_allowed_host_and_scheme

from apps.accounts.models import Role, User
from apps.audit.api import deny
from hospintel_site.callers import client_address, method_of

ANY_ROLE = frozenset(Role)
CLINICAL = frozenset({Role.ADMIN, Role.DOCTOR})
ADMIN_ONLY = frozenset({Role.ADMIN})

# What can be done -> the roles that may. Rules about single objects (whose hospital?) are group permissions, not roles.
MAY: Mapping[str, frozenset[Role]] = {
    "see_dashboard": ANY_ROLE,
    "see_events": ANY_ROLE,
    "see_own_account": ANY_ROLE,
    "check_audit": ADMIN_ONLY,
    "get_model": CLINICAL,
    "fine_tune": CLINICAL,
    "end_leases": ADMIN_ONLY,
    "analyse": CLINICAL,
    "see_every_hospital": ADMIN_ONLY,
    "open_admin": ADMIN_ONLY,
    "invite_hospitals": ADMIN_ONLY,
    "manage_people": ADMIN_ONLY,
    "revoke_agents": ADMIN_ONLY,
    "steer_runs": ADMIN_ONLY,
    "review_models": ADMIN_ONLY,
    "change_settings": ADMIN_ONLY,
    "manage_validation": ADMIN_ONLY,
}

View = Callable[Concatenate[HttpRequest, ...], HttpResponseBase]


def may(user: AbstractBaseUser | AnonymousUser, what: str) -> bool:
    """Return whether this person's role allows `what`, which must be a line of the table (KeyError otherwise).

    Who has to set up a second factor first may nothing.
    """
    allowed = MAY[what]
    return isinstance(user, User) and user.is_active and not user.must_enrol and user.role in allowed


def refuse(request: HttpRequest, what: str) -> NoReturn:
    """Record that a signed-in person's role does not allow `what`, and answer 403. Raises PermissionDenied, always."""
    if isinstance(request.user, User):
        match = request.resolver_match
        page = match.view_name if match and match.url_name else "?"
        actor, address = request.user.actor, client_address(request)
        deny(f"{method_of(request)} {page}"[:60], code="permission_denied", actor=actor, address=address, needs=what)
    raise PermissionDenied


def page_of(request: HttpRequest) -> str:
    """Return the page that somebody is on: the one asked for, or the one of ours whose form was sent."""
    if request.method in {"GET", "HEAD"}:
        return request.get_full_path()
    referer = request.headers.get("Referer", "")
    if not url_has_allowed_host_and_scheme(referer, {request.get_host()}, require_https=request.is_secure()):
        return "/"
    return urlsplit(referer)._replace(scheme="", netloc="").geturl() or "/"


def door(request: HttpRequest) -> HttpResponseBase | None:
    """Return where somebody has to go before any page: to sign in, or to set up a second factor; None if nowhere."""
    if not isinstance(request.user, User):
        return redirect_to_login(page_of(request))
    return redirect("accounts:second-factor") if request.user.must_enrol else None


def require_person(view: View) -> View:
    """Guard a page that is for everybody who is signed in, even who must set up a second factor first."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not request.user.is_authenticated:
            return redirect_to_login(page_of(request))
        return view(request, *args, **kwargs)

    return guarded


def require(what: str) -> Callable[[View], View]:
    """Guard a page: strangers go to the login page, people without the role get 403."""
    if what not in MAY:
        raise KeyError(what)

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if elsewhere := door(request):
                return elsewhere
            if not may(request.user, what):
                refuse(request, what)
            return view(request, *args, **kwargs)

        return guarded

    return decorate
