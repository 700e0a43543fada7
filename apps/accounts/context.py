"""What every template knows about its reader."""

import time

from django.http import HttpRequest

from apps.accounts.pipeline.sessions import ends_at, limit_of
from apps.accounts.roles import MAY, may


def permissions(request: HttpRequest) -> dict[str, dict[str, bool]]:
    """Return `may`: each line of the table of roles -> whether the reader may do it."""
    user = getattr(request, "user", None)
    return {"may": {what: user is not None and may(user, what) for what in MAY}}


def session_left(request: HttpRequest) -> dict[str, object]:
    """Return in how many `seconds` the session ends without another step, and whether a step makes it `last`."""
    end = ends_at(request.session)
    return {"seconds": max(0, round(end - time.time())), "last": end < limit_of(request.session)}


def session(request: HttpRequest) -> dict[str, object]:
    """Return `session_left`, for pages of who is signed in."""
    user = getattr(request, "user", None)
    return {"session_left": session_left(request)} if user is not None and user.is_authenticated else {}
