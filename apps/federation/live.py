"""The live path of one web process: a tailer reads new audit entries and wakes whoever waits in this process.

The audit table is the event feed. The tailer starts with the first waiter (Daphne has no ASGI lifespan) and runs in
a context of its own: the context of a request ends with the request, and its thread with it.
"""

import asyncio
import contextvars
import logging
from typing import Any

from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from django.db import close_old_connections

from apps.audit.api import events_after
from apps.audit.models import AuditHead

logger = logging.getLogger(__name__)
INTERVAL = 0.1
BATCH = 200


def group_of(visibility: str) -> str:
    """Return the channel group whose sockets may see events of a visibility."""
    return "events." + visibility.replace(":", ".")


def _head() -> int:
    try:
        return AuditHead.objects.values_list("seq", flat=True).first() or 0
    finally:
        close_old_connections()


def _read(after: int) -> list[dict[str, Any]]:
    try:
        return events_after(after, BATCH)
    finally:
        close_old_connections()


class Tailer:
    """Reads the feed every 0.1 s, sends it to the sockets' groups, wakes the long polls."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed: asyncio.Event | None = None

    def start(self) -> asyncio.Event:
        """Start in the running loop where it does not run yet. Returns the event of the next change."""
        loop = asyncio.get_running_loop()
        if self._task is None or self._task.done() or self._loop is not loop:
            self._loop = loop
            self._changed = asyncio.Event()
            self._task = loop.create_task(self._run(), context=contextvars.Context())
        if self._changed is None:
            raise RuntimeError("The tailer has no event although it was started.")
        return self._changed

    async def _run(self) -> None:
        last = await sync_to_async(_head)()
        while True:
            try:
                events = await sync_to_async(_read)(last)
                if events:
                    last = events[-1]["seq"]
                    self._wake()
                    await self._send(events)
            except Exception:
                # Whatever it was, whoever waits must be woken by the next event.
                logger.exception("The event feed cannot be read or sent; trying again")
                await asyncio.sleep(1)
            await asyncio.sleep(INTERVAL)

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        if changed is not None:
            changed.set()

    async def _send(self, events: list[dict[str, Any]]) -> None:
        layer = get_channel_layer()
        by_group: dict[str, list[dict[str, Any]]] = {}
        for event in events:
            # Administrators see everything: one group of theirs, instead of a filter at the socket.
            by_group.setdefault(group_of("admin"), []).append(event)
            if event["visibility"] != "admin":
                by_group.setdefault(group_of(event["visibility"]), []).append(event)
        for group, batch in by_group.items():
            await layer.group_send(group, {"type": "events", "events": batch})


tailer = Tailer()
