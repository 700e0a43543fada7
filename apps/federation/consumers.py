"""The socket of the dashboard: it sends what this person may see, and writes nothing.

A socket outlives the request that opened it: who is signed out, deactivated or moved meanwhile must not go on reading.
"""

from typing import Any

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.contrib.auth import HASH_SESSION_KEY
from django.utils.crypto import constant_time_compare

from apps.accounts.models import User
from apps.federation.live import group_of, tailer
from apps.federation.visibility import visibilities

SIGN_IN_FIRST = 4401


class EventsConsumer(AsyncJsonWebsocketConsumer):  # type: ignore[misc] # channels ships no types
    """Live events, in the groups of the person's visibilities."""

    groups: list[str] = []

    async def connect(self) -> None:
        """Refuse strangers; join the groups of what this person may see."""
        user = self.scope.get("user")
        if not isinstance(user, User) or not user.is_active:
            await self.close(SIGN_IN_FIRST)
            return
        self.joined = await database_sync_to_async(self._groups)()
        for group in self.joined:
            await self.channel_layer.group_add(group, self.channel_name)
        await self.accept()
        tailer.start()

    async def disconnect(self, code: int) -> None:  # noqa: ARG002 - channels' signature
        """Leave the groups."""
        for group in getattr(self, "joined", []):
            await self.channel_layer.group_discard(group, self.channel_name)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None, **_: Any) -> None:
        """Ignore what a page sends: there is nothing to say here."""

    async def events(self, message: dict[str, Any]) -> None:
        """Pass a batch on, if this person may still see what may be seen here."""
        if await database_sync_to_async(self._groups)() != self.joined:
            await self.close(SIGN_IN_FIRST)
            return
        await self.send_json({"events": message["events"]})

    def _groups(self) -> list[str]:
        """Return the groups of the person as the database knows them now; none without a session that holds."""
        session = self.scope["session"]
        if not session.session_key or not session.exists(session.session_key):
            return []
        user = User.objects.filter(pk=self.scope["user"].pk, is_active=True).first()
        if user is None or not constant_time_compare(session[HASH_SESSION_KEY], user.get_session_auth_hash()):
            return []
        allowed = visibilities(user)
        return [group_of("admin")] if allowed is None else [group_of(name) for name in allowed]
