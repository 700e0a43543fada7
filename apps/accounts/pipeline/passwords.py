"""Passwords: set with a one-time link that an administrator issued, or changed by their owner.

A password is hashed, which is slow on purpose, before a transaction begins. A new password ends every session that was
begun with the old one.
"""

import secrets
from datetime import timedelta

from django.contrib.auth.hashers import check_password, make_password
from django.utils import timezone

from apps.accounts.models import Hospital, PasswordLink, Role, SessionEnd, User, ending
from apps.accounts.pipeline.lockout import release, take
from apps.accounts.pipeline.people import AccountError, add_member, create_without_password, end_tokens, secret_hash
from apps.audit.api import deny, record, transaction

LINK_HOURS = 24


def add_person(username: str, *, role: Role, hospitals: list[Hospital], actor: str) -> tuple[User, str]:
    """Create a person without a password, and the token of the link with which they set one.

    Nobody else ever knows the password. Raises AccountError(username_taken).
    """
    with transaction():
        user = create_without_password(username, role=role, actor=actor)
        for hospital in hospitals:
            add_member(user, hospital, actor=actor)
        token = issue_password_link(user, actor=actor)
    return user, token


def issue_password_link(user: User, *, actor: str) -> str:
    """Return the token of a link that sets a person's password, once, within a day; links before it stop working.

    256 bits; only its SHA-256 is stored. The present password and sessions stay until the link is used.
    Raises AccountError(inactive) for somebody who is deactivated.
    """
    token = secrets.token_urlsafe(32)
    with transaction():
        if not User.objects.filter(pk=user.pk, is_active=True).exists():
            raise AccountError("inactive", f"{user} is deactivated. Activate the account first.")
        PasswordLink.objects.filter(user=user, used_at=None).delete()
        expires_at = timezone.now() + timedelta(hours=LINK_HOURS)
        PasswordLink.objects.create(user=user, token_hash=secret_hash(token), expires_at=expires_at)
        record("password.link", actor=actor, obj=user, visibility="admin", hours=LINK_HOURS)
    return token


def find_password_link(token: str) -> PasswordLink | None:
    """Return the open link of this token; None if it is wrong, late or used, or its person is deactivated."""
    link = PasswordLink.objects.select_related("user").filter(token_hash=secret_hash(token)).first()
    return link if link is not None and link.is_open and link.user.is_active else None


def use_password_link(token: str, password: str) -> User:
    """Set the password of the link's person, and end their sessions. Raises AccountError(link_invalid)."""
    hashed = make_password(password)
    link = find_password_link(token)
    changed = {"password": hashed, **ending(SessionEnd.PASSWORD)}
    with transaction():
        now = timezone.now()
        fresh = PasswordLink.objects.filter(token_hash=secret_hash(token), used_at=None, expires_at__gt=now)
        person = User.objects.filter(pk=link.user.pk, is_active=True) if link else User.objects.none()
        if link is None or fresh.update(used_at=now) != 1 or person.update(**changed) != 1:
            raise AccountError("link_invalid", "This link is no longer valid.")
        end_tokens(link.user)
        record("person.password", actor=link.user.actor, obj=link.user, visibility="admin", by="link")
    link.user.refresh_from_db()
    return link.user


def change_password(user: User, old: str, new: str, *, address: str) -> None:
    """Change one's own password, and end one's sessions and any open link that would set another.

    The old one is guessed no more often than at the login page: a browser left open tells nobody the password.

    Args:
        user: whose.
        old: the present password, as typed.
        new: the next one, which the rules allow.
        address: where the call comes from.

    Raises:
        AccountError: `password_wrong`, or `password_changed` if it was changed in the same moment.
        Locked: too many wrong ones from this address.
    """
    attempt = take(user.get_username(), address)
    before = user.password
    if not check_password(old, before):
        deny("person.password", code="password_wrong", actor=user.actor, address=address, obj=user)
        raise AccountError("password_wrong", "This is not your present password.")
    release(attempt)
    changed = {"password": make_password(new), **ending(SessionEnd.PASSWORD)}
    with transaction():
        if User.objects.filter(pk=user.pk, password=before).update(**changed) != 1:
            raise AccountError("password_changed", "Your password was changed in this moment. Sign in anew.")
        end_tokens(user)
        # Who changes a password because somebody else may know it shuts that door too.
        PasswordLink.objects.filter(user=user, used_at=None).delete()
        record("person.password", actor=user.actor, obj=user, visibility="admin", by="owner")
    user.refresh_from_db(fields=["password", "session_epoch"])
