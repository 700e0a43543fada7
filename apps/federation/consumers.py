"""The socket of the dashboard: it sends what this person may see, and writes nothing.

A socket outlives the request that opened it: who is signed out, deactivated or moved meanwhile must not go on reading.
It looks again before each batch, when the tailer says that something happened to its person, and when the session ends
by itself.
"""

import asyncio
from collections import defaultdict
from datetime import datetime
from typing import Any
from weakref import WeakSet

from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.contrib.auth import HASH_SESSION_KEY
from django.utils import timezone

from apps.accounts.models import User
from apps.federation.live import person_group, tailer
from apps.federation.looks import Shown, Standing, look

SIGN_IN_FIRST = 4401
# Signed in still, with other rights than before: the page has to be asked for anew.
RIGHTS_CHANGED = 4403
TOO_MANY = 4429
# Of one person in one process: a page in every tab of a busy day, and no flood.
MOST_SOCKETS = 20
# After an event every page asks for its part anew: few do so at once. Where there are more, each chooses a moment by
# chance within so long a time for each of them, or nobody else would be answered meanwhile.
AT_ONCE = 10
SPREAD_SECONDS = 0.02

# Weak: a socket that failed without a goodbye does not count for ever.
_open: defaultdict[int, WeakSet["EventsConsumer"]] = defaultdict(WeakSet)


def _spread() -> dict[str, float]:
    """Return within how many seconds the pages that are open here should ask anew; nothing where they are few."""
    more = sum(map(len, _open.values())) - AT_ONCE
    return {"spread": round(more * SPREAD_SECONDS, 2)} if more > 0 else {}


class EventsConsumer(AsyncJsonWebsocketConsumer):  # type: ignore[misc] # channels ships no types
    """Live events, in the groups of the person's visibilities."""

    groups: list[str] = []
    standing: Standing | None = None
    end: asyncio.TimerHandle | None = None

    async def __call__(self, *args: Any) -> None:
        """Make room for another however this ends: a server under load cancels it, and then nobody says goodbye."""
        try:
            await super().__call__(*args)
        finally:
            self._forget()

    async def connect(self) -> None:
        """Refuse strangers and floods; join the groups of what this person may see."""
        user = self.scope.get("user")
        if not isinstance(user, User):
            await self.close(SIGN_IN_FIRST)
            return
        if len(_open[user.pk]) >= MOST_SOCKETS:
            await self.close(TOO_MANY)
            return
        _open[user.pk].add(self)
        # First the ear, then the look: nothing that happens to this person meanwhile is missed.
        await tailer.started()
        await self.channel_layer.group_add(person_group(user.pk), self.channel_name)
        self.standing = await self._look()
        if self.standing is None:
            await self.close(SIGN_IN_FIRST)
            return
        for group in self.standing.groups:
            await self.channel_layer.group_add(group, self.channel_name)
        self._end_with_the_session(self.standing.ends)
        await self.accept()

    async def close(self, code: int | None = None, reason: str | None = None) -> None:
        """Close, and make room for another."""
        self._forget()
        await super().close(code, reason)

    def _forget(self) -> None:
        if self.end is not None:
            self.end.cancel()
        if isinstance(user := self.scope.get("user"), User):
            _open[user.pk].discard(self)

    async def disconnect(self, code: int) -> None:  # noqa: ARG002 - channels' signature
        """Leave the groups."""
        self._forget()
        user = self.scope.get("user")
        if isinstance(user, User):
            for group in (person_group(user.pk), *(self.standing.groups if self.standing else ())):
                await self.channel_layer.group_discard(group, self.channel_name)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None, **_: Any) -> None:
        """Ignore what a page sends: there is nothing to say here."""

    async def events(self, message: dict[str, Any]) -> None:
        """Pass a batch on, if this person may still see what may be seen here."""
        if await self._still_may():
            await self.send_json({"events": message["events"], **_spread()})

    async def progress(self, message: dict[str, Any]) -> None:
        """Pass on how far something is that this person may see."""
        if await self._still_may():
            await self.send_json({"progress": message["progress"]})

    async def look_again(self, message: dict[str, Any]) -> None:  # noqa: ARG002 - channels' signature
        """Look whether this person may still read: something happened to them."""
        await self._still_may()

    async def _still_may(self) -> bool:
        now = await self._look()
        if self.standing is None or now is None:
            await self.close(SIGN_IN_FIRST)
        elif (now.role, now.groups) != (self.standing.role, self.standing.groups):
            await self.close(RIGHTS_CHANGED)
        else:
            return True
        return False

    def _end_with_the_session(self, ends: datetime) -> None:
        loop = asyncio.get_running_loop()
        seconds = max(0.0, (ends - timezone.now()).total_seconds())
        self.end = loop.call_later(seconds, lambda: loop.create_task(self._session_over()))

    async def _session_over(self) -> None:
        """Close, unless the session was made to last longer meanwhile."""
        now = await self._look()
        if now is None:
            await self.close(SIGN_IN_FIRST)
        else:
            self._end_with_the_session(now.ends)

    async def _look(self) -> Standing | None:
        session = self.scope["session"]
        return await look(Shown(session.session_key, self.scope["user"].pk, session.get(HASH_SESSION_KEY, "")))
