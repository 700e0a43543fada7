"""The generator of load, a process of its own: dashboards that are open, and agents that upload.

`python -m benchmarks.browsers` reads what to do from standard input, a line of JSON at a time, and writes a line of
JSON when it is ready and one with what it measured. It holds itself to a share of one core, so that what it measures is
the hub and not itself. Connections come from addresses of 127.0.0.0/8, since the hub counts them by address.
"""

import asyncio
import base64
import itertools
import json
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from hospintel_core import strict_json, weights
from hospintel_core.plan import Manifest, SignedManifest
from tools import stand_in
from tools.stand_in import StandIn

PART_BYTES = 1_000_000
ANSWER_SECONDS = 60.0
# As static/js/live.js has them.
QUIET_SECONDS, IDLE_SECONDS = 0.25, 30.0
LOOK_SECONDS = 0.05
# Within which all of them open their page, as at the beginning of a shift.
OPENING_SECONDS = 20.0
AN_ADDRESS = 50
_TEXT, _CLOSE, _PING = 1, 8, 9
_TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="(\w+)"')
_LIVING = re.compile(r'data-living="(\d+)"')


@dataclass(frozen=True)
class Answer:
    """What the hub said."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def cookies(self) -> str:
        """Return the cookies that it sets, as a browser sends them back."""
        return "; ".join(value.partition(";")[0] for name, value in self.headers if name == "set-cookie")


@dataclass
class Measured:
    """Seconds of every page and of every part of an upload, and what went wrong."""

    pages: list[float] = field(default_factory=list)
    accepts: list[float] = field(default_factory=list)
    wrong: Counter[str] = field(default_factory=Counter)
    updates: int = 0


class Line:
    """HTTP/1.1 to the hub, one connection a request, from an address of its own."""

    def __init__(self, port: int, address: str) -> None:
        self.port = port
        self._address = address

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection."""
        return await asyncio.open_connection("127.0.0.1", self.port, local_addr=(self._address, 0))

    async def ask(self, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> Answer:
        """Send a request and read the whole answer. Raises OSError or TimeoutError."""
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await self.open()
            try:
                writer.write(
                    self.head(method, path, {**headers, "Content-Length": str(len(body)), "Connection": "close"})
                )
                writer.write(body)
                await writer.drain()
                head, _, content = (await reader.read(-1)).partition(b"\r\n\r\n")
            finally:
                writer.close()
        if not head:
            raise ConnectionError("The hub hung up without an answer.")
        first, *lines = head.decode("latin-1").split("\r\n")
        found = [(name.strip().lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        return Answer(int(first.split()[1]), found, content)

    def head(self, method: str, path: str, headers: dict[str, str]) -> bytes:
        """Return the head of a request."""
        lines = {"Host": f"127.0.0.1:{self.port}", **headers}
        return "\r\n".join([f"{method} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in lines.items()), "", ""]).encode()


class Dashboard:
    """One person with the dashboard open: the page, its socket, and what the page's script fetches."""

    def __init__(self, line: Line, name: str, password: str, measured: Measured) -> None:
        self._line, self._name, self._password, self._measured = line, name, password, measured
        self._cookie = ""
        self._soon = asyncio.Event()
        # Within how many seconds the hub asks the pages to ask it.
        self._spread = 0.0

    async def sign_in(self) -> None:
        """Sign in by the form. Raises ConnectionError where the hub refuses."""
        path = "/accounts/login/"
        page = await self._line.ask("GET", path, {})
        token = _TOKEN.search(page.body.decode())
        if token is None:
            raise ConnectionError(f"{path} answered {page.status} without a form.")
        form = f"csrfmiddlewaretoken={token[1]}&username={self._name}&password={self._password}".encode()
        headers = {
            "Cookie": page.cookies(),
            "Content-Type": "application/x-www-form-urlencoded",
            "Origin": f"http://127.0.0.1:{self._line.port}",
        }
        answer = await self._line.ask("POST", path, headers, form)
        if answer.status != 302:
            raise ConnectionError(f"{self._name} was answered {answer.status}.")
        self._cookie = answer.cookies()

    async def watch(self, after: float) -> None:
        """Open the page after so many seconds and keep it open until cancelled."""
        await asyncio.sleep(after)
        first = await self._page({})
        seq = int(found[1]) if (found := _LIVING.search(first)) else 0
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen(seq))
            group.create_task(self._refresh())

    async def _page(self, headers: dict[str, str]) -> str:
        began = time.perf_counter()
        try:
            answer = await self._line.ask("GET", "/", {"Cookie": self._cookie, "Accept": "text/html", **headers})
        except (OSError, TimeoutError) as error:
            self._measured.wrong[f"page: {type(error).__name__}"] += 1
            return ""
        self._measured.pages.append(time.perf_counter() - began)
        if answer.status != 200:
            self._measured.wrong[f"page: {answer.status}"] += 1
        return answer.body.decode()

    async def _refresh(self) -> None:
        while True:
            try:
                await asyncio.wait_for(self._soon.wait(), IDLE_SECONDS)
                await asyncio.sleep(QUIET_SECONDS + random.uniform(0, self._spread))
            except TimeoutError:
                pass
            self._soon.clear()
            await self._page({"X-Fragment": "live"})

    async def _listen(self, seq: int) -> None:
        reader, writer = await self._line.open()
        key = base64.b64encode(self._name.encode().ljust(16, b"-")[:16]).decode()
        headers = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": key,
            "Sec-WebSocket-Version": "13",
            "Cookie": self._cookie,
            "Origin": f"http://127.0.0.1:{self._line.port}",
        }
        writer.write(self._line.head("GET", "/ws/events/", headers))
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if b" 101 " not in head.partition(b"\r\n")[0]:
                raise ConnectionError(head.partition(b"\r\n")[0].decode())
            while True:
                seq = await self._frame(reader, writer, seq)
        except (OSError, EOFError) as error:
            self._measured.wrong[f"socket: {error}"] += 1
        finally:
            writer.close()

    async def _frame(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seq: int) -> int:
        first, second = await reader.readexactly(2)
        length = second & 0x7F
        if length >= 126:
            length = int.from_bytes(await reader.readexactly(2 if length == 126 else 8), "big")
        payload, opcode = await reader.readexactly(length), first & 0x0F
        if opcode == _CLOSE:
            raise ConnectionError(f"closed with {int.from_bytes(payload[:2], 'big')}")
        if opcode == _PING:
            # Masked with zeros, which leave it as it is.
            writer.write(bytes([0x8A, 0x80 | len(payload)]) + bytes(4) + payload)
        if opcode == _TEXT:
            message = json.loads(payload)
            newest = max((event["seq"] for event in message.get("events", [])), default=0)
            if newest > seq:
                self._spread = message.get("spread", 0.0)
                self._soon.set()
                return newest
        return seq


@dataclass
class Site:
    """An enrolled agent that has an update without training."""

    line: Line
    slug: str
    architecture: str
    agent: StandIn
    _seqs: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.agent.token}", "X-Hospintel-Version": "0.1.0"}

    async def task(self, wait: int) -> Manifest | None:
        """Ask for a task. Raises ConnectionError where the hub refuses."""
        answer = await self.line.ask("GET", f"/api/v1/federations/{self.slug}/task?wait={wait}", self._headers)
        if answer.status == 204:
            return None
        if answer.status != 200:
            raise ConnectionError(f"An agent that asks for a task was answered {answer.status}.")
        return Manifest.from_bytes(SignedManifest.from_wire(strict_json.parse(answer.body.decode())).body)

    def seal(self, manifest: Manifest) -> bytes:
        """Return its sealed update, which can be told from all before it."""
        return stand_in.seal(self.agent, manifest, self.architecture, seq=next(self._seqs))

    async def put(self, manifest: Manifest, sealed: bytes, offset: int) -> Answer:
        """Upload the part that begins there."""
        path = f"/api/v1/rounds/{manifest.round_id}/update?offset={offset}"
        about = {"Upload-Length": str(len(sealed)), "Upload-Digest": weights.digest(sealed)}
        kind = {"Content-Type": "application/octet-stream"}
        return await self.line.ask(
            "PUT", path, {**self._headers, **about, **kind}, sealed[offset : offset + PART_BYTES]
        )


async def upload(sites: Sequence[Site], measured: Measured, *, every: float) -> None:
    """Upload one part after the other, one each `every` seconds; a site's update is whole before the next one's begins.

    A part whose answer takes longer holds up the next one, which then follows at once.
    """
    due = time.monotonic()
    for site in sites:
        manifest = await site.task(20)
        if manifest is None:
            raise ConnectionError("The hub has no task for an agent.")
        sealed = await asyncio.to_thread(site.seal, manifest)
        for offset in range(0, len(sealed), PART_BYTES):
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due += every
            began = time.perf_counter()
            answer = await site.put(manifest, sealed, offset)
            measured.accepts.append(time.perf_counter() - began)
            if answer.status not in {200, 202}:
                measured.wrong[f"upload: {answer.status} {answer.body[:200].decode(errors='replace')}"] += 1
                break
            measured.updates += answer.status == 202


async def hold(share: float) -> None:
    """Stand still whenever this process has used more than its share of one core; until cancelled."""
    began, used = time.monotonic(), time.process_time()
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        over = (time.process_time() - used) / share - (time.monotonic() - began)
        if over > 0:
            # All of it: the others of this process too.
            time.sleep(over)  # noqa: ASYNC251 - as it says


async def _told() -> dict[str, Any]:
    return dict(json.loads(await asyncio.to_thread(sys.stdin.readline)))


def _tell(what: object) -> None:
    print(json.dumps(what), flush=True)


async def main() -> None:
    """Sign everybody in, say so, and do each run that standard input asks for, once a round is open."""
    start = await _told()
    port, measured = start["port"], Measured()
    lines = (Line(port, f"127.0.1.{1 + number // AN_ADDRESS}") for number in itertools.count())
    people = [Dashboard(next(lines), name, start["password"], measured) for name in start["people"]]
    for person in people:
        await person.sign_in()
    sites = [
        Site(next(lines), start["slug"], start["architecture"], StandIn(UUID(agent), token, base64.b64decode(key)))
        for agent, token, key in start["agents"]
    ]
    _tell("ready")
    while "seconds" in (asked := await _told()):
        for site in sites:
            await site.task(0)
        # A round waits for those that are online when it opens.
        _tell("online")
        await _told()
        for figures in (measured.pages, measured.accepts, measured.wrong):
            figures.clear()
        measured.updates = 0
        began, used = time.monotonic(), time.process_time()
        await _run(people, sites, measured, seconds=asked["seconds"], share=start["share"])
        share = (time.process_time() - used) / (time.monotonic() - began)
        _tell({**vars(measured), "share": share})


async def _run(
    people: Sequence[Dashboard], sites: Sequence[Site], measured: Measured, *, seconds: float, share: float
) -> None:
    every = OPENING_SECONDS / len(people)
    tasks = [asyncio.create_task(person.watch(number * every)) for number, person in enumerate(people)]
    tasks += [asyncio.create_task(upload(sites, measured, every=1.0)), asyncio.create_task(hold(share))]
    await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
    for task in tasks:
        task.cancel()
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(ended, Exception):
            measured.wrong[f"{type(ended).__name__}: {ended}"] += 1


if __name__ == "__main__":
    asyncio.run(main())
