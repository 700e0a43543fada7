"""Tokens of people, for programs: 256 random bits, of which the hash is kept; they end by time, or with their person.

They are apart from browser sessions: signing in ends none, and none of them opens a page. What ends a person's session
for good (a new password, another role, deactivation, a reset second factor, being signed out) ends their tokens too.
"""

import secrets
from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from apps.accounts.models import ApiToken, User
from apps.accounts.pipeline.people import AccountError, secret_hash
from apps.accounts.pipeline.sign_in import authenticate
from apps.audit.api import record, transaction

# By it a token of a person is told from an agent's, by programs and by who finds one.
PREFIX = "hip_"
HINT = 8
# A program that signs in and never out loses its oldest.
MOST_OF_A_PERSON = 20
NOTED_EVERY = timedelta(seconds=30)


def log_in(username: str, password: str, *, otp: str, address: str) -> tuple[User, str]:
    """Return the person whose name, password and code these are, and a fresh token of theirs.

    Raises:
        Locked, CodeNeeded: as `authenticate` does.
        AccountError: `login_invalid`, `otp_invalid`, `factor_unreadable`; `second_factor_needed` for an administrator
            who has to set one up first; `sign_in_anew` if the account was changed in this moment.
    """
    user = authenticate(username, password, otp=otp, address=address)
    if user is None:
        raise AccountError("login_invalid", "Name and password do not belong together, or the account is deactivated.")
    if user.must_enrol:
        raise AccountError("second_factor_needed", "Set up a second factor on the portal first.")
    return user, _issue(user, address=address)


def _issue(user: User, *, address: str) -> str:
    token = PREFIX + secrets.token_urlsafe(32)
    now = timezone.now()
    ends = now + timedelta(hours=settings.TOKEN_HOURS)
    # Writing the row as it is holds it: whatever ends the person's tokens in this moment comes before or after.
    same = {"password": user.password, "role": user.role, "is_active": True}
    with transaction():
        if User.objects.filter(pk=user.pk, **same).update(last_login=now) != 1:
            raise AccountError("sign_in_anew", "Your account was changed in this moment. Sign in anew.")
        ApiToken.objects.create(user=user, token_hash=secret_hash(token), hint=token[:HINT], expires_at=ends)
        kept = ApiToken.objects.filter(user=user).order_by("-pk").values_list("pk", flat=True)[:MOST_OF_A_PERSON]
        ApiToken.objects.filter(user=user).exclude(pk__in=list(kept)).delete()
        record("token.issue", actor=user.actor, obj=user, visibility="admin", address=address, hint=token[:HINT])
    return token


def is_persons(authorization: str) -> bool:
    """Return whether an Authorization header brings a person's token, valid or not."""
    scheme, _, token = authorization.partition(" ")
    return scheme.lower() == "bearer" and token.strip().startswith(PREFIX)


def find(authorization: str) -> ApiToken | None:
    """Return the token that an Authorization header brings, and note that it is used; None if it is not valid."""
    now = timezone.now()
    sent = secret_hash(authorization.partition(" ")[2].strip())
    valid = ApiToken.objects.select_related("user").filter(token_hash=sent, expires_at__gt=now, user__is_active=True)
    token = valid.first()
    if token is not None and (token.last_used_at is None or token.last_used_at < now - NOTED_EVERY):
        ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)
    return token


def tokens_of(user: User) -> list[ApiToken]:
    """Return a person's tokens that are not over, the newest first."""
    return list(ApiToken.objects.filter(user=user, expires_at__gt=timezone.now()).order_by("-pk"))


def revoke(user: User, pk: int) -> None:
    """End one token of a person; nothing happens if it is none of theirs, or over."""
    with transaction():
        token = ApiToken.objects.filter(user=user, pk=pk).first()
        if token is not None and ApiToken.objects.filter(pk=pk).delete()[0]:
            record("token.end", actor=user.actor, obj=user, visibility="admin", hint=token.hint)


def forget_old_tokens() -> int:
    """Delete tokens that are over. Returns how many."""
    over = ApiToken.objects.filter(expires_at__lte=timezone.now())
    if not over.exists():
        return 0
    with transaction():
        return over.delete()[0]
