"""Browser sessions: one a person, and how long it lasts.

A session is proven by the person's password and epoch (`User._get_session_auth_hash`). Whoever signs in writes another
epoch: the row of a person has one, so of any number of sign-ins, at once or in turn, the last one's session is left.
Times are seconds since 1970, kept in the session itself; `session_store.py` keeps its row as long as they say.
"""

import logging
import time
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY, login
from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.contrib.sessions.models import Session
from django.db import OperationalError
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from apps.accounts.models import SessionEnd, User, ending
from apps.accounts.pipeline.leaving import put_out
from apps.accounts.pipeline.people import AccountError, end_tokens
from apps.audit.api import record, transaction

logger = logging.getLogger(__name__)
# When it began, when somebody last did something in it, when somebody last proved in it who they are.
STARTED, SEEN, PROVEN = "started", "seen", "proven"
# Every step of a busy reader would be a write; who reads slowly is noted at each.
NOTED_EVERY = 10
# So long after its end a session can still say why it ended.
KEPT = timedelta(days=1)
BACKEND = "django.contrib.auth.backends.ModelBackend"


def begin_session(request: HttpRequest, user: User, *, address: str) -> None:
    """Sign a person in, in this browser alone: every other session of theirs is over.

    Args:
        request: of the browser.
        user: who has just proven who they are, with the password as it was then.
        address: where the call comes from.

    Raises:
        AccountError: `sign_in_anew` if password or account were changed in this moment.
    """
    changed = ending(SessionEnd.ELSEWHERE)
    with transaction():
        if User.objects.filter(pk=user.pk, password=user.password, is_active=True).update(**changed) != 1:
            raise AccountError("sign_in_anew", "Your account was changed in this moment. Sign in anew.")
        user.session_epoch = changed["session_epoch"]
        login(request, user, backend=BACKEND)
        record("login.ok", actor=user.actor, obj=user, visibility="admin", address=address)


def end_sessions(user: User, *, actor: str) -> None:
    """Sign a person out everywhere: their session and their tokens are over."""
    with transaction():
        User.objects.filter(pk=user.pk).update(**ending(SessionEnd.ADMIN))
        end_tokens(user)
        record("person.sign_out", actor=actor, obj=user, visibility="admin")
        put_out.send(User, user=user, actor=actor, by="admin")


def is_signed_in(user: User) -> bool:
    """Return whether the person has a session that is not over."""
    proof = user.get_session_auth_hash()
    for row in Session.objects.filter(expire_date__gt=timezone.now()).iterator():
        kept = row.get_decoded()
        if kept.get(SESSION_KEY) == str(user.pk) and constant_time_compare(kept.get(HASH_SESSION_KEY, ""), proof):
            return True
    return False


def note_start(sender: object, request: HttpRequest, **_: Any) -> None:  # noqa: ARG001 - a signal's receiver
    """Note when a session began, by whatever door somebody came in: Django's signal `user_logged_in` calls this."""
    now = int(time.time())
    request.session.update({STARTED: now, SEEN: now, PROVEN: now})


def note_activity(session: SessionBase) -> None:
    """Note that the person did something; the session then lasts another while, up to its longest time."""
    now = int(time.time())
    if now - session.get(SEEN, 0) < NOTED_EVERY:
        return
    session.setdefault(STARTED, now)
    session[SEEN] = now
    try:
        session.save()
    except (OperationalError, UpdateError):
        # A full disk, or somebody who signs out in this moment: whether the request can be answered is its own matter.
        logger.exception("a step in a session could not be noted")
    session.modified = False


def note_proof(session: SessionBase) -> None:
    """Note that the person has just proven who they are."""
    session[PROVEN] = int(time.time())


def is_proven(session: SessionBase) -> bool:
    """Return whether the person proved who they are in this session lately."""
    return bool(time.time() - session.get(PROVEN, 0) < settings.PROOF_SECONDS)


def ends_at(session: SessionBase | dict[str, Any]) -> float:
    """Return when a session ends, if nothing more is done in it."""
    now = time.time()
    return min(float(session.get(SEEN, now)) + settings.SESSION_IDLE_SECONDS, limit_of(session))


def limit_of(session: SessionBase | dict[str, Any]) -> float:
    """Return when a session ends, whatever is done in it."""
    return float(session.get(STARTED, time.time())) + settings.SESSION_LONGEST_SECONDS


def why_over(key: str, person: str | None) -> SessionEnd:
    """Return why a session that was presented is none.

    Args:
        key: as the browser sent it.
        person: the key of the person in it, if it could still be read.
    """
    if person is not None:
        why = User.objects.filter(pk=person).values_list("session_end", flat=True).first()
        return SessionEnd(why) if why else SessionEnd.UNKNOWN
    row = Session.objects.filter(pk=key).first()
    kept = row.get_decoded() if row is not None else {}
    if SESSION_KEY not in kept:
        return SessionEnd.UNKNOWN
    return SessionEnd.LIMIT if limit_of(kept) <= time.time() else SessionEnd.IDLE


def forget_old_sessions() -> int:
    """Delete sessions that have been over for a day. Returns how many."""
    over = Session.objects.filter(expire_date__lt=timezone.now() - KEPT)
    if not over.exists():
        return 0
    with transaction():
        return over.delete()[0]
