"""Whether name, password and code belong together: the one way in, for the sign-in pages and for programs."""

from django.contrib.auth import authenticate as check
from django.contrib.auth.hashers import check_password
from django.http import HttpRequest

from apps.accounts.models import User
from apps.accounts.pipeline.lockout import Attempt, Locked, give_back, release, take
from apps.accounts.pipeline.people import AccountError
from apps.accounts.pipeline.second_factor import check_code, is_app_code
from apps.audit.api import deny, record, transaction

__all__ = ["CodeNeeded", "Locked", "authenticate", "confirm"]


class CodeNeeded(AccountError):  # noqa: N818 - an answer, not a fault
    """The password is right; the person's second factor is wanted too."""

    def __init__(self, user: User) -> None:
        super().__init__("otp_needed", "A code of your second factor is needed.")
        self.user = user


def authenticate(
    username: str,
    password: str,
    *,
    address: str,
    otp: str = "",
    known: User | None = None,
    request: HttpRequest | None = None,
) -> User | None:
    """Return the person whose name, password and code these are; None if they are not, or if the person is deactivated.

    The attempt is taken before anything is looked at, and no transaction is open while a password is hashed. A name
    that nobody has takes as long as one that somebody has. A right password without a code gives back its own attempt
    and no other: wrong codes are bounded as wrong passwords are, however the two alternate.

    Args:
        username: as typed.
        password: as typed.
        address: where the call comes from, by `client_address`.
        otp: a code of the app, or a recovery code, as typed; empty where nobody was asked yet.
        known: whose password was right a moment ago, in the same browser: then `password` is not looked at.
        request: for the backends.

    Raises:
        Locked: too many wrong ones from this address.
        CodeNeeded: the password is right, and there is a second factor, and no code.
        AccountError: `otp_invalid`, a wrong code or one that was used; `factor_unreadable`.
    """
    try:
        attempt = take(username, address)
    except Locked:
        deny("login.refused", code="login_locked", actor="unknown", address=address)
        raise
    user = known or check(request, username=username, password=password)
    if not isinstance(user, User):
        # The name typed is not recorded: it may be a password.
        deny("login.refused", code="login_invalid", actor="unknown", address=address)
        _tell_lock(attempt, username, address)
        return None
    if user.has_second_factor:
        _second_step(user, otp, attempt, address)
    release(attempt)
    return user


def confirm(user: User, typed: str, *, address: str) -> None:
    """Check that it is still this person, by their password or a code of their app.

    Guessed no more often than at the sign-in page: a browser left open tells nobody either of them.

    Raises:
        AccountError: `confirm_wrong`; `factor_unreadable`.
        Locked: too many wrong ones.
    """
    try:
        attempt = take(user.get_username(), address)
        by_code = is_app_code(user, typed)
        right = check_code(user, typed) if by_code else check_password(typed, user.password)
    except Locked:
        deny("confirm.refused", code="login_locked", actor=user.actor, address=address, obj=user)
        raise
    if not right:
        deny("confirm.refused", code="confirm_wrong", actor=user.actor, address=address, obj=user)
        _tell_lock(attempt, user.get_username(), address)
        raise AccountError("confirm_wrong", "This is neither your password nor an unused code of your app.")
    release(attempt)


def _second_step(user: User, otp: str, attempt: Attempt, address: str) -> None:
    """Look at the code. Raises what `authenticate` does."""
    if not otp:
        give_back(attempt)
        raise CodeNeeded(user)
    try:
        right = check_code(user, otp)
    except Locked:
        deny("login.refused", code="login_locked", actor=user.actor, address=address, obj=user)
        raise
    if not right:
        # Whoever typed it has the password: that is worth an entry with the person's name.
        deny("login.refused", code="otp_invalid", actor=user.actor, address=address, obj=user)
        _tell_lock(attempt, user.get_username(), address)
        raise AccountError("otp_invalid", "This code is wrong, or it was used already. Codes change every 30 seconds.")


def _tell_lock(attempt: Attempt, username: str, address: str) -> None:
    """Record that a name is locked out from an address, with whom it is if there is such a person."""
    if not attempt.is_last:
        return
    with transaction():
        user = User.objects.filter(username=username).first()
        facts = {"code": "login_locked", "address": address}
        record("login.lock", actor="unknown", obj=user, outcome="denied", visibility="admin", **facts)
