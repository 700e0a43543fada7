"""A bad line in front of any TCP service: delay, little bandwidth, resets, tiny pieces, silence, ends nobody hears of.

What happens to the n-th connection is drawn from (seed, n) alone.
"""

import asyncio
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

BLOCK = 16 * 1024
# Closing with this sends a reset instead of a farewell.
RESET = struct.pack("ii", 1, 0)
CLIENT, SERVICE = "client", "service"
Piece = tuple[float, bytes]


@dataclass(frozen=True)
class Weather:
    """How a line is. Times in seconds, each way; shares are of connections.

    `latency` +- `jitter` for each piece. `slow` lines pass `rate` bytes a second for `slow_seconds`. `cut` ones are
    reset at a byte; of `lost` ones one end is closed and the other is never told; `hole` ones pass nothing for
    `hole_seconds`, from a byte on. That byte is one of the next `up` that the client sends or, as often, of the next
    `down` that it gets; a line that has passed either is drawn again. `slices` are the most bytes that arrive at once
    (0: as they come).
    """

    latency: float = 0.0
    jitter: float = 0.0
    slow: float = 0.0
    rate: int = 1000
    slow_seconds: float = 20.0
    cut: float = 0.0
    lost: float = 0.0
    hole: float = 0.0
    hole_seconds: float = 30.0
    up: int = 24_000
    down: int = 600
    slices: int = 0


CALM = Weather()


@dataclass(eq=False)
class Line:
    """One connection, both its ends, and what will happen to it."""

    weather: Weather
    rng: random.Random
    ends: dict[str, asyncio.StreamWriter]
    fault: str = ""
    toward: str = ""
    left: dict[str, int] = field(default_factory=dict)
    slow_until: float = 0.0
    silent_until: float = 0.0
    deaf: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.draw()

    def draw(self) -> None:
        """Decide what comes next."""
        weather, drawn = self.weather, self.rng.random()
        self.left = {SERVICE: weather.up, CLIENT: weather.down}
        for fault, share in (("cut", weather.cut), ("lost", weather.lost), ("hole", weather.hole)):
            if not self.fault and drawn < share:
                self.fault, self.toward = fault, self.rng.choice((CLIENT, SERVICE))
                self.left[self.toward] = self.rng.randrange(self.left[self.toward])
            drawn -= share
        if self.rng.random() < weather.slow:
            self.slow_until = asyncio.get_running_loop().time() + weather.slow_seconds

    def reset(self) -> None:
        """Break it so that both ends notice at once."""
        for writer in self.ends.values():
            _reset(writer)


def _reset(writer: asyncio.StreamWriter) -> None:
    # Closed already: then there is nobody to tell.
    with suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()


class FaultProxy:
    """Listens on a free port of loopback and passes everything on to `target`, another one or a socket in a folder."""

    def __init__(self, target: int | Path, weather: Weather = CALM, *, seed: int = 0) -> None:
        self.weather = weather
        self.happened: Counter[str] = Counter()
        self._target = target
        self._seed = seed
        self._lines: set[Line] = set()
        self._silent_until = 0.0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._serve, "127.0.0.1", 0)).result()
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._do(self._end()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def become(self, weather: Weather) -> None:
        """Change the weather; what is connected is reset, so that nothing goes on as before."""
        self.weather = weather
        self.cut_all()

    def cut_all(self) -> None:
        """Reset every connection."""
        self._do(self._cut_all()).result()

    def silence(self, seconds: float) -> None:
        """Let nothing pass for so long, on no connection; new ones are taken and hear nothing either."""
        self._silent_until = self._loop.time() + seconds
        self.happened["silence"] += 1

    def _do(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _cut_all(self) -> None:
        for line in list(self._lines):
            line.reset()

    async def _end(self) -> None:
        self._server.close()
        await self._cut_all()
        own = asyncio.current_task()
        rest = [task for task in asyncio.all_tasks() if task is not own]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._target, Path):
            return await asyncio.open_unix_connection(self._target)
        return await asyncio.open_connection("127.0.0.1", self._target)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.happened["connections"] += 1
        rng = random.Random(f"{self._seed}:{self.happened['connections']}")
        try:
            far_reader, far_writer = await self._reach()
        except OSError:
            # Nobody there: as the service itself would, or its machine.
            _reset(writer)
            return
        line = Line(self.weather, rng, {CLIENT: writer, SERVICE: far_writer})
        self._lines.add(line)
        ways = ((reader, SERVICE), (far_reader, CLIENT))
        try:
            await asyncio.gather(*(self._way(line, source, to) for source, to in ways))
        except asyncio.CancelledError:
            # The end of the proxy; asyncio would log a task that says so.
            return
        finally:
            self._lines.discard(line)
            for end in line.ends.values():
                end.close()

    async def _way(self, line: Line, source: asyncio.StreamReader, to: str) -> None:
        """One direction: what is read waits in a queue for its time, so that a delay takes no bandwidth."""
        queue: asyncio.Queue[Piece] = asyncio.Queue(maxsize=64)
        writing = asyncio.create_task(self._write(line, queue, to))
        with suppress(OSError):
            while True:
                data = await source.read(BLOCK)
                delay = max(0.0, line.weather.latency + line.rng.uniform(-1.0, 1.0) * line.weather.jitter)
                await queue.put((self._loop.time() + delay, data))
                if not data:
                    break
        if source.exception() is not None:
            line.reset()
            writing.cancel()
        with suppress(OSError, asyncio.CancelledError):
            await writing

    async def _write(self, line: Line, queue: asyncio.Queue[Piece], to: str) -> None:
        writer = line.ends[to]
        while True:
            due, data = await queue.get()
            await asyncio.sleep(max(0.0, due - self._loop.time()))
            if not data:
                if to not in line.deaf:
                    writer.write_eof()
                return
            for piece in _sliced(data, line):
                await self._pass_on(line, piece, to)

    async def _pass_on(self, line: Line, piece: bytes, to: str) -> None:
        line.left[to] -= len(piece)
        if line.fault and to == line.toward and line.left[to] < 0:
            piece = self._strike(line, piece, to)
        elif not line.fault and line.left[to] < 0:
            line.draw()
        if self._loop.time() < line.slow_until:
            await asyncio.sleep(len(piece) / line.weather.rate)
        await asyncio.sleep(max(0.0, max(line.silent_until, self._silent_until) - self._loop.time()))
        if to in line.deaf or not piece:
            return
        line.ends[to].write(piece)
        try:
            await line.ends[to].drain()
        except OSError:
            # Gone: what is on its way to it must not hold up the other direction's reader.
            line.deaf.add(to)

    def _strike(self, line: Line, piece: bytes, to: str) -> bytes:
        """Let the line's fault happen at its byte; returns what still passes."""
        fault, line.fault = line.fault, ""
        self.happened[fault] += 1
        before = piece[: line.left[to]]
        if fault == "hole":
            line.silent_until = self._loop.time() + line.weather.hole_seconds
            return piece
        if before:
            line.ends[to].write(before)
        if fault == "cut":
            line.reset()
        else:
            # One end hears that it is over, the other hears nothing any more.
            told = line.rng.choice((CLIENT, SERVICE))
            line.ends[told].close()
            line.deaf |= {CLIENT, SERVICE}
        return b""


def _sliced(data: bytes, line: Line) -> list[bytes]:
    most = min(line.weather.slices or BLOCK, line.weather.rate // 10 if line.slow_until else BLOCK)
    return [data[start : start + most] for start in range(0, len(data), most)]
