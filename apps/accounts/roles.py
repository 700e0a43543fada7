"""Who may do what: one table. Pages, API permissions and tests all read it."""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Concatenate

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from apps.accounts.models import Role, User

ANY_ROLE = frozenset(Role)
CLINICAL = frozenset({Role.ADMIN, Role.DOCTOR})
ADMIN_ONLY = frozenset({Role.ADMIN})

# What can be done -> the roles that may. Rules about single objects (whose hospital?) are group permissions, not roles.
MAY: Mapping[str, frozenset[Role]] = {
    "see_dashboard": ANY_ROLE,
    "see_events": ANY_ROLE,
    "get_model": CLINICAL,
    "see_every_hospital": ADMIN_ONLY,
    "open_admin": ADMIN_ONLY,
    "revoke_agents": ADMIN_ONLY,
    "steer_runs": ADMIN_ONLY,
    "review_models": ADMIN_ONLY,
}

View = Callable[Concatenate[HttpRequest, ...], HttpResponseBase]


def may(user: AbstractBaseUser | AnonymousUser, what: str) -> bool:
    """Return whether this person's role allows `what`, which must be a line of the table (KeyError otherwise)."""
    allowed = MAY[what]
    return isinstance(user, User) and user.is_active and user.role in allowed


def require(what: str) -> Callable[[View], View]:
    """Guard a page: strangers go to the login page, people without the role get 403."""
    if what not in MAY:
        raise KeyError(what)

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if not request.user.is_authenticated:
                return redirect_to_login(request.get_full_path())
            if not may(request.user, what):
                raise PermissionDenied
            return view(request, *args, **kwargs)

        return guarded

    return decorate
