"""Whether a name and a password belong together: the one way in, for the login page and for programs."""

from django.contrib.auth import authenticate as check
from django.http import HttpRequest

from apps.accounts.models import User
from apps.accounts.pipeline.lockout import Attempt, Locked, release, take
from apps.audit.api import deny, record, transaction

__all__ = ["Locked", "authenticate"]


def authenticate(username: str, password: str, *, address: str, request: HttpRequest | None = None) -> User | None:
    """Return the person whose name and password these are; None if they are not, or if the person is deactivated.

    The attempt is taken before the password is looked at, and no transaction is open while it is hashed. A name that
    nobody has takes as long as one that somebody has.

    Args:
        username: as typed.
        password: as typed.
        address: where the call comes from, by `client_address`.
        request: for the backends.

    Raises:
        Locked: too many wrong ones from this address.
    """
    try:
        attempt = take(username, address)
    except Locked:
        deny("login.refused", code="login_locked", actor="unknown", address=address)
        raise
    user = check(request, username=username, password=password)
    if isinstance(user, User):
        release(attempt)
        return user
    # The name typed is not recorded: it may be a password.
    deny("login.refused", code="login_invalid", actor="unknown", address=address)
    _tell_lock(attempt, username, address)
    return None


def _tell_lock(attempt: Attempt, username: str, address: str) -> None:
    """Record that a name is locked out from an address, with whom it is if there is such a person."""
    if not attempt.is_last:
        return
    with transaction():
        user = User.objects.filter(username=username).first()
        facts = {"code": "login_locked", "address": address}
        record("login.lock", actor="unknown", obj=user, outcome="denied", visibility="admin", **facts)
