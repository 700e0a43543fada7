"""The live path of one web process: a tailer reads new audit entries and wakes whoever waits in this process.

The audit table is the event feed; how far work is that goes on is no entry of it, and is sent beside the events. The
tailer starts with the first waiter (Daphne has no ASGI lifespan) and runs in a context of its own: the context of a
request ends with the request, and its thread with it.
"""

import asyncio
import contextvars
import logging
import math
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from asgiref.sync import async_to_sync, sync_to_async
from channels.layers import get_channel_layer
from django.db import close_old_connections

from apps.audit.api import events_after
from apps.audit.models import AuditHead

logger = logging.getLogger(__name__)
INTERVAL = 0.05
BATCH = 200
# A page gets at most one message in this time, whatever happens.
BATCH_SECONDS = 0.25
MAX_WAIT = 60.0


class Progress(NamedTuple):
    """How far something is that is no event of the audit: for the sockets of its person, and of administrators."""

    person_id: int
    moment: datetime
    told: dict[str, Any]


# Other apps' work that goes on now, by an id of its own. Asked once a batch; told where the moment is another.
WORK: list[Callable[[], dict[str, Progress]]] = []
# What can give the agents of a federation something to do, and names it. Other events wake no agent: each would look.
TASK_ACTIONS = frozenset({"round.open", "round.call", "evaluation.open"})


def group_of(visibility: str) -> str:
    """Return the channel group whose sockets may see events of a visibility."""
    return "events." + visibility.replace(":", ".")


def person_group(person_id: int) -> str:
    """Return the channel group of one person's sockets."""
    return f"person.{person_id}"


def _persons(event: dict[str, Any]) -> set[int]:
    """Return the people whom an event concerns: what it did to them may end what their sockets may read."""
    named = [event["object"], *event["objects"]]
    found = [name.removeprefix("user:") for name in named if name.startswith("user:")]
    return {int(number) for number in found if number.isdecimal()}


def _head() -> int:
    return AuditHead.objects.values_list("seq", flat=True).first() or 0


def _work() -> dict[str, Progress]:
    found: dict[str, Progress] = {}
    for ask in WORK:
        found |= ask()
    return found


def _read(after: int) -> list[dict[str, Any]]:
    return events_after(after, BATCH)


def tasks_of(federation_slug: str) -> str:
    """Return the key under which the agents of a federation wait for something to do."""
    return f"tasks:{federation_slug}"


class Tailer:
    """Reads the feed every 0.05 s, sends it to the sockets' groups, wakes whoever waits for what has happened.

    Every 0.25 s it looks how far work is that goes on, and sends what has moved.

    The sockets of a person whom an event concerns look again at once whether they may still read, whatever they see of
    it: signing out closes them though nothing else happens.

    It keeps its database connection: opening one costs more than reading what is mostly nothing.
    """

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready = asyncio.Event()
        self._unsent: list[dict[str, Any]] = []
        self._sent_at = 0.0
        self._told: dict[str, datetime] = {}
        self._looked_at = 0.0
        # By what they wait for; who has stopped waiting is forgotten.
        self._waiting: WeakValueDictionary[str, asyncio.Event] = WeakValueDictionary()

    def start(self) -> None:
        """Start in the running loop where it does not run yet."""
        loop = asyncio.get_running_loop()
        if self._task is None or self._task.done() or self._loop is not loop:
            self._loop = loop
            self._waiting.clear()
            self._ready = asyncio.Event()
            self._unsent = []
            self._task = loop.create_task(self._run(), context=contextvars.Context())

    async def started(self) -> None:
        """Start, and wait until nothing that is committed from now on is missed."""
        self.start()
        await self._ready.wait()

    def next_change(self, key: str) -> asyncio.Event:
        """Return the event of the next change of `key`: `tasks_of` a federation, or an object of the audit."""
        self.start()
        return self._waiting.setdefault(key, asyncio.Event())

    async def _run(self) -> None:
        last = await sync_to_async(_head)()
        self._ready.set()
        # Who looked before the head was read, and waits since, may have missed an event.
        self._wake(set(self._waiting))
        while True:
            try:
                events = await sync_to_async(_read)(last)
                if events:
                    last = events[-1]["seq"]
                    tasks = {tasks_of(e["facts"]["federation"]) for e in events if e["action"] in TASK_ACTIONS}
                    self._wake(tasks | {event["object"] for event in events})
                    self._unsent += events
                    await self._look_again(events)
                if self._unsent and time.monotonic() - self._sent_at >= BATCH_SECONDS:
                    self._sent_at, batch, self._unsent = time.monotonic(), self._unsent, []
                    await self._send(batch)
                if time.monotonic() - self._looked_at >= BATCH_SECONDS:
                    self._looked_at = time.monotonic()
                    await self._send_progress(await sync_to_async(_work)())
            except Exception:
                # Whatever it was, whoever waits must be woken by the next event.
                logger.exception("The event feed cannot be read or sent; trying again")
                await sync_to_async(close_old_connections)()
                await asyncio.sleep(1)
            await asyncio.sleep(INTERVAL)

    def _wake(self, keys: set[str]) -> None:
        for key in keys:
            if changed := self._waiting.pop(key, None):
                changed.set()

    async def _look_again(self, events: list[dict[str, Any]]) -> None:
        layer = get_channel_layer()
        for person_id in sorted(set().union(*map(_persons, events))):
            await layer.group_send(person_group(person_id), {"type": "look.again"})

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

    async def _send_progress(self, work: dict[str, Progress]) -> None:
        layer = get_channel_layer()
        for name, one in work.items():
            if self._told.get(name) != one.moment:
                for group in (person_group(one.person_id), group_of("admin")):
                    await layer.group_send(group, {"type": "progress", "progress": one.told})
        # What has ended is forgotten.
        self._told = {name: one.moment for name, one in work.items()}


tailer = Tailer()


def wait_of(text: str | None) -> float:
    """Return how many seconds a caller is willing to wait, from what it wrote."""
    try:
        seconds = float(text or 0)
    except ValueError:
        return 0.0
    # A wait until "not a number" would never be over.
    return 0.0 if math.isnan(seconds) else min(max(seconds, 0.0), MAX_WAIT)


async def next_change(key: str) -> asyncio.Event:
    """Return the event of the next change. Take it before looking: then nothing between look and wait is missed."""
    return tailer.next_change(key)


async def pause(changed: asyncio.Event, seconds: float) -> None:
    """Wait for the change, or until the time is over."""
    with suppress(TimeoutError):
        await asyncio.wait_for(changed.wait(), seconds)


def wait_in_thread(key: str, look: Callable[[], bool], seconds: float) -> None:
    """Wait until a look finds what was waited for, or the time is over; from a request's own thread.

    Args:
        key: whose changes are worth another look.
        look: tells whether the wait is over.
        seconds: the longest wait.
    """
    until = time.monotonic() + seconds
    while True:
        changed = async_to_sync(next_change)(key)
        left = until - time.monotonic()
        if look() or left <= 0:
            return
        # Nobody holds a database connection while waiting.
        close_old_connections()
        async_to_sync(pause)(changed, left)
