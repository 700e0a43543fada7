"""A hub double, phantoms, and an agent enrolled with it: in this process, or as a real one."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hub_double import HubDouble
from stepped_clock import SteppedClock

from client_agent.agent import Agent, open_agent
from client_agent.clock import Stop
from client_agent.config import Home
from client_agent.console import LineDisplay
from client_agent.enrol import enrol
from client_agent.journal import Journal, Row
from hospintel_core.phantoms import write_folder

PER_CLASS = 12


@pytest.fixture(scope="session")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantoms in class folders."""
    folder = tmp_path_factory.mktemp("scans")
    write_folder(folder, PER_CLASS, seed=5)
    return folder


@pytest.fixture
def hub() -> Iterator[HubDouble]:
    """A running hub double."""
    double = HubDouble()
    double.start()
    yield double
    double.stop()


@pytest.fixture
def home(tmp_path: Path, hub: HubDouble, scans: Path) -> Home:
    """The home of an agent that is enrolled with the hub double."""
    place = Home(tmp_path / "home")
    enrol(place, hub=hub.url, code="one-time-code", data=scans)
    return place


@pytest.fixture
def stop() -> Stop:
    return Stop()


@pytest.fixture
def clock(stop: Stop, hub: HubDouble) -> SteppedClock:
    """A clock that the agent and the hub double share; polls of the hub do not wait."""
    stepped = SteppedClock(stop)
    hub.now_ms = stepped.now_ms
    hub.long_poll = 0
    return stepped


@pytest.fixture
def agent(home: Home, stop: Stop, clock: SteppedClock) -> Iterator[Agent]:
    """The enrolled agent in this process, on the stepped clock."""
    with opened(home, stop=stop, clock=clock) as found:
        yield found


def opened(home: Home, *, stop: Stop, clock: SteppedClock, data: Path | None = None) -> AbstractContextManager[Agent]:
    display = LineDisplay(logging.getLogger("client_agent"))
    return open_agent(home, data=data, weights=None, display=display, stop=stop, clock=clock)


@dataclass
class Command:
    """`hospintel-agent` as real processes."""

    folder: Path
    env: dict[str, str]
    program: list[str] = field(default_factory=lambda: [sys.executable, "-m"])
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *arguments: str, **popen: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(  # type: ignore[call-overload]
            [*self.program, "client_agent", *arguments],
            cwd=self.folder,
            env=self.env,
            text=True,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | popen,
        )
        self.started.append(process)
        return process

    def run(self, *arguments: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=timeout)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def kill(self, process: subprocess.Popen[str]) -> str:
        """End it as a power failure would; returns its stderr."""
        process.send_signal(signal.SIGKILL)
        return process.communicate(timeout=10)[1]


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Command]:
    root = str(Path(__file__).parents[2])
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": root, "COLUMNS": "100", "LANG": "C.UTF-8"}
    found = Command(tmp_path, env)
    yield found
    for process in found.started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def rows(home: Home) -> list[Row]:
    with Journal(home.journal) as journal:
        return journal.latest(100)


def wait_until(condition: Callable[[], bool], timeout: float = 15.0) -> None:
    until = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.01)


def config_of(home: Home) -> dict[str, str]:
    found: dict[str, str] = json.loads(home.config.read_text())
    return found
