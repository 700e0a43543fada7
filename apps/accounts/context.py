"""What every template knows about its reader."""

from django.http import HttpRequest

from apps.accounts.roles import MAY, may


def permissions(request: HttpRequest) -> dict[str, dict[str, bool]]:
    """Return `may`: each line of the table of roles -> whether the reader may do it."""
    user = getattr(request, "user", None)
    return {"may": {what: user is not None and may(user, what) for what in MAY}}
