"""Scenarios of test_agent_disk.py; each ends by printing `accepted`. Runs where `disk` is a small file system."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from agent_program import opened
from hub_double import HubDouble, Round
from hub_http import Handler
from stepped_clock import SteppedClock

from client_agent.clock import Stop
from client_agent.config import Home, load_config
from client_agent.enrol import enrol
from client_agent.errors import SetupError, StorageError, needs_a_person
from client_agent.journal import Journal
from client_agent.poll import Service, outcome
from hospintel_core.errors import KeyFileError
from hospintel_core.phantoms import write_folder


class Filler:
    """Takes all the room of the disk, and gives it back."""

    def __init__(self, disk: Path) -> None:
        self._path = disk / "filler"

    def take(self, leave: int = 0) -> None:
        with self._path.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                file.truncate(max(0, file.tell() - leave))

    def give(self) -> None:
        self._path.unlink()


def enrol_on_a_full_disk(home: Home, hub: HubDouble, scans: Path, filler: Filler) -> None:
    """The code is not used up before the key lies on the disk."""
    filler.take()
    with pytest.raises((StorageError, KeyFileError)) as caught:
        enrol(home, hub=hub.url, code="one-time-code", data=scans)
    assert caught.value.code in {"disk_full", "key_unwritable"}
    assert hub.codes == {"one-time-code"}
    filler.give()
    with pytest.raises(SetupError, match="no agent is enrolled"):
        load_config(home)


def fill_at(hub: HubDouble, filler: Filler, method: str, part_of_path: str, leave: int = 0) -> None:
    """Fill the disk when the agent makes this call."""

    def fill(_handler: Handler) -> bool:
        filler.take(leave)
        return False

    hub.inject(method, part_of_path, fill)


FILL_AT: dict[str, Callable[[HubDouble, Filler], None]] = {
    "model": lambda hub, filler: fill_at(hub, filler, "GET", "/models/"),
    # The first answer about the round comes after the delta, the second after the sealed update.
    "delta": lambda hub, filler: fill_at(hub, filler, "GET", "/task", leave=64 * 1024),
    "sealed": lambda hub, filler: fill_at(hub, filler, "GET", "/update"),
    "journal": lambda hub, filler: fill_at(hub, filler, "PUT", "/update"),
}


def run(scenario: str, disk: Path, outside: Path) -> None:
    """One round that meets a full disk, then room again."""
    hub = HubDouble()
    hub.start()
    scans = outside / "scans"
    write_folder(scans, 12, seed=5)
    home, filler, stop = Home(disk / "home"), Filler(disk), Stop()
    clock = SteppedClock(stop)
    hub.now_ms, hub.long_poll = clock.now_ms, 0
    if scenario == "enrol":
        enrol_on_a_full_disk(home, hub, scans, filler)
    enrol(home, hub=hub.url, code="one-time-code", data=scans)
    round_ = hub.open_round()
    try:
        if scenario in FILL_AT:
            _meet_the_full_disk(home, hub, filler, clock, stop, scenario)
        if scenario == "features":
            filler.take(leave=400 * 1024)
        with opened(home, stop=stop, clock=clock) as agent:
            outcome(Service(agent).once(timeout=60))
        _check(home, round_)
    finally:
        hub.stop()


def _meet_the_full_disk(
    home: Home, hub: HubDouble, filler: Filler, clock: SteppedClock, stop: Stop, scenario: str
) -> None:
    with opened(home, stop=stop, clock=clock) as agent:
        if scenario != "model":
            # The cache would fill up first, and do without.
            agent.scans.split(hub.architecture)
        FILL_AT[scenario](hub, filler)
        with pytest.raises(StorageError) as caught:
            Service(agent).run()
    filler.give()
    assert caught.value.code == "disk_full"
    assert "goes on" in caught.value.hint
    assert needs_a_person(caught.value)


def _check(home: Home, round_: Round) -> None:
    with Journal(home.journal) as journal:
        (row,) = journal.latest(10)
    assert row.final
    assert len(round_.updates) == 1
    print("accepted")


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    run(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
