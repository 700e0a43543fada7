"""A hub double, phantoms, and an agent enrolled with it: in this process, or as a real one."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_program import Command, opened
from hub_double import HubDouble
from stepped_clock import SteppedClock

from client_agent.agent import Agent
from client_agent.clock import Stop
from client_agent.config import Home
from client_agent.enrol import enrol
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
