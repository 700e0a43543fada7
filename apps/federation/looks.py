"""What the database says now of the people at open sockets, asked for all of them at once.

After an event each socket looks whether its person may still read. Two hundred looks, one after the other in the one
thread that sockets have, would take seconds in which no socket can open: those that are asked for while one goes on are
done together.
"""

import asyncio
import contextvars
from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple
from weakref import WeakKeyDictionary

from channels.db import database_sync_to_async
from django.contrib.sessions.models import Session
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from apps.accounts.models import User
from apps.accounts.roles import may
from apps.federation.live import group_of
from apps.federation.visibility import names_of, own_hospitals_of


class Shown(NamedTuple):
    """What a socket shows of itself: its session, the person in it, and the proof that it is theirs."""

    session_key: str
    person_id: int
    proof: str


class Standing(NamedTuple):
    """What a person may read, and until when the session lasts."""

    role: str
    groups: tuple[str, ...]
    ends: datetime


class Looks:
    """The looks of one event loop."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Shown, asyncio.Future[Standing | None]]] = []
        self._task: asyncio.Task[None] | None = None

    async def look(self, shown: Shown) -> Standing | None:
        """Return what holds at some moment after this call; None where session or person do not hold."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Standing | None] = loop.create_future()
        self._waiting.append((shown, answer))
        if self._task is None or self._task.done():
            # In a context of its own, as the tailer: that of a socket ends with it.
            self._task = loop.create_task(self._run(), context=contextvars.Context())
        return await answer

    async def _run(self) -> None:
        while self._waiting:
            asked, self._waiting = self._waiting, []
            try:
                found = await database_sync_to_async(standings)({shown for shown, _ in asked})
            except Exception as error:
                for _, answer in asked:
                    if not answer.done():
                        answer.set_exception(error)
            else:
                for shown, answer in asked:
                    if not answer.done():
                        answer.set_result(found.get(shown))


_looks: WeakKeyDictionary[asyncio.AbstractEventLoop, Looks] = WeakKeyDictionary()


async def look(shown: Shown) -> Standing | None:
    """Return what the database says now of the person and the session; None where one of them does not hold."""
    return await _looks.setdefault(asyncio.get_running_loop(), Looks()).look(shown)


def standings(asked: Collection[Shown]) -> dict[Shown, Standing]:
    """Return the standing of each whose session and person hold; a handful of queries, however many they are."""
    keys, people = {shown.session_key for shown in asked}, {shown.person_id for shown in asked}
    kept = Session.objects.filter(session_key__in=keys, expire_date__gt=timezone.now())
    ends = dict(kept.values_list("session_key", "expire_date"))
    users = {user.pk: user for user in User.objects.filter(pk__in=people, is_active=True) if may(user, "see_events")}
    own = own_hospitals_of(users.values())
    found = {}
    for shown in asked:
        user = users.get(shown.person_id)
        if user is None or shown.session_key not in ends:
            continue
        if constant_time_compare(shown.proof, user.get_session_auth_hash()):
            names = names_of(own[user.pk])
            groups = tuple(group_of(name) for name in (["admin"] if names is None else names))
            found[shown] = Standing(user.role, groups, ends[shown.session_key])
    return found
