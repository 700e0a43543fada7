"""Starts the hub's processes, restarts what dies, and stops all of it."""

import contextlib
import http.client
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType

from hospintel_site.lifetime import VARIABLE
from hospintel_site.logs import is_event

TERMINATE_SECONDS = 15.0
QUIT_SECONDS = 5.0
FIRST_DELAY, LONGEST_DELAY = 1.0, 10.0
# A process that ran this long was well: its next restart does not wait.
STEADY_SECONDS = 60.0
START_SECONDS = 120.0
TRIES_BEFORE_READY = 3
TICK = 0.1

_print_lock = threading.Lock()


def say(line: str) -> None:
    """Print one whole line at once."""
    with _print_lock:
        print(line, flush=True)


@dataclass
class Child:
    """One process of the hub, and how often it had to be started."""

    name: str
    argv: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    delay: float = FIRST_DELAY
    due: float = 0.0
    failures: int = 0
    pump: threading.Thread | None = None

    @property
    def alive(self) -> bool:
        """Return whether it runs."""
        return self.process is not None and self.process.poll() is None


@dataclass
class Supervisor:
    """Runs children until a signal. `healthy` asks whether the hub answers; `on_ready` is called once when it does."""

    children: list[Child]
    environment: Mapping[str, str]
    healthy: Callable[[], bool]
    on_ready: Callable[[], None]
    _stop: threading.Event = field(default_factory=threading.Event)
    _signals: int = 0

    def run(self) -> int:
        """Start everything and watch it. Returns the exit code: 0 after a signal, 1 if the hub could not be started."""
        previous = {number: signal.signal(number, self._on_signal) for number in _signals()}
        try:
            return self._watch()
        finally:
            self._stop_all()
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _watch(self) -> int:
        deadline, ready = time.monotonic() + START_SECONDS, False
        while not self._stop.is_set():
            for child in self.children:
                self._tend(child)
            if not ready and self.healthy():
                ready = True
                self.on_ready()
            if not ready:
                failing = next((child for child in self.children if child.failures >= TRIES_BEFORE_READY), None)
                if failing is not None:
                    say(f"error: {failing.name} does not start; its last lines are above.")
                    return 1
                if time.monotonic() > deadline:
                    say(f"error: the hub does not answer after {START_SECONDS:.0f} s.")
                    return 1
            self._stop.wait(TICK)
        return 0

    def _tend(self, child: Child) -> None:
        now = time.monotonic()
        if child.alive:
            return
        if child.process is None:
            if now >= child.due:
                self._start(child)
            return
        _kill_group(child.process)
        if child.pump is not None:
            child.pump.join(timeout=1)  # its last words come before ours
        child.delay = FIRST_DELAY if now - child.started > STEADY_SECONDS else child.delay
        say(f"{child.name} ended ({_how(child.process.returncode)}); starting it again in {child.delay:.0f} s.")
        child.process, child.failures = None, child.failures + 1
        child.due, child.delay = now + child.delay, min(child.delay * 2, LONGEST_DELAY)

    def _start(self, child: Child) -> None:
        # A session of its own: Ctrl-C in the terminal reaches the supervisor alone, which stops the children in order.
        child.process = subprocess.Popen(  # noqa: S603 - our own programs
            child.argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **self.environment, VARIABLE: str(os.getpid()), "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )
        child.started = time.monotonic()
        child.pump = threading.Thread(target=_pump, args=(child.name, child.process), daemon=True)
        child.pump.start()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._signals += 1
        self._stop.set()

    def _stop_all(self) -> None:
        running = [
            child.process for child in self.children if child.process is not None and child.process.poll() is None
        ]
        if running:
            say("Stopping. (Once more to stop at once.)")
        asked = self._signals
        for step, seconds in ((signal.SIGTERM, TERMINATE_SECONDS), (signal.SIGQUIT, QUIT_SECONDS)):
            _send(running, step)
            if self._wait(running, seconds, asked):
                break
        for process in running:
            _kill_group(process)
        for child in self.children:
            if child.pump is not None:
                child.pump.join(timeout=1)
        if running:
            say("Stopped.")

    def _wait(self, running: list[subprocess.Popen[bytes]], seconds: float, asked: int) -> bool:
        """Wait until all have ended; False when the time is over or another signal asks for haste."""
        end = time.monotonic() + seconds
        while any(process.poll() is None for process in running):
            if time.monotonic() > end or self._signals > max(asked, 1):
                return False
            time.sleep(TICK / 2)
        return True


def children() -> list[Child]:
    """Return the processes of a hub on one machine."""
    python = sys.executable
    manage = str(_manage())
    return [
        Child("web", [python, "-m", "hospintel_site.server"]),
        Child("tick", [python, manage, "tick"]),
        Child("default", [python, "-m", "hospintel_site.worker", "default"]),
        Child("training", [python, "-m", "hospintel_site.worker", "training"]),
    ]


def answers(address: str, port: int, *, host: str, tls: bool) -> bool:
    """Return whether GET /healthz says that the hub is well. `host` goes into the Host header."""
    connection: http.client.HTTPConnection
    if tls:
        # To ourselves, over loopback or our own address: whether it lives is the question, not who it is.
        unverified = ssl._create_unverified_context()  # noqa: S323, SLF001
        connection = http.client.HTTPSConnection(address, port, timeout=2, context=unverified)
    else:
        connection = http.client.HTTPConnection(address, port, timeout=2)
    try:
        connection.request("GET", "/healthz", headers={"Host": host, "Connection": "close"})
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _manage() -> str:
    from django.conf import settings  # noqa: PLC0415 - this module is also used before the settings are

    return str(settings.BASE_DIR / "manage.py")


def _signals() -> list[signal.Signals]:
    # Under nohup the terminal's end is none of our business.
    hangup = [] if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else [signal.SIGHUP]
    return [signal.SIGINT, signal.SIGTERM, *hangup]


def _how(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


def _pump(name: str, process: subprocess.Popen[bytes]) -> None:
    if process.stdout is None:
        return
    for line in process.stdout:
        if text := line.decode(errors="replace").rstrip():
            say(text if is_event(text) else f"{name:8} | {text}")
    process.stdout.close()


def _send(processes: list[subprocess.Popen[bytes]], number: signal.Signals) -> None:
    for process in processes:
        if process.poll() is None:
            process.send_signal(number)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the child's session: a worker that was killed leaves its own children behind."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
