"""kill -9 at every point of a round, real processes: the next start finishes it, and trains only what it must."""

import signal
from pathlib import Path

import numpy as np
import pytest
from agent_program import PATIENCE_SECONDS, Command, rows, wait_until
from hub_double import HubDouble
from hub_http import cut_upload

from client_agent.config import Home
from client_agent.enrol import enrol
from client_agent.journal import State
from hospintel_core import backbone
from hospintel_core.architectures import get
from hospintel_core.dataset import open_dataset
from hospintel_core.features import FeatureCache
from hospintel_core.imaging import content_digest

TRAINS = "training on"


def _state(home: Home) -> State | None:
    found = rows(home)
    return found[0].state if found else None


def _killed_at(command: Command, hub: HubDouble, home: Home, call: tuple[str, str], *, after: bool = False) -> str:
    """Start the service, kill it while the given call is in the air; returns its log."""
    hub.open_round()
    hold = hub.hold(*call, after=after)
    process = command.start("run", "--home", str(home.folder))
    assert hold.arrived.wait(PATIENCE_SECONDS)
    log = command.kill(process)
    hold.go.set()
    return log


def test_a_kill_after_the_task_came_trains_after_the_restart(command: Command, hub: HubDouble, home: Home) -> None:
    log = _killed_at(command, hub, home, ("GET", "/models/"))
    assert TRAINS not in log
    assert _state(home) == State.TASK
    done = command.run("once", "--home", str(home.folder), "--timeout", "20")
    assert done.returncode == 0, done.stderr
    assert len(hub.rounds[0].updates) == 1


@pytest.mark.parametrize(
    ("method", "after", "state"),
    [
        pytest.param("GET", False, State.TRAINED, id="after_the_training"),
        pytest.param("PUT", False, State.SEALED, id="in_the_upload"),
        pytest.param("PUT", True, State.SEALED, id="uploaded_but_not_answered"),
    ],
)
def test_a_kill_later_on_finishes_the_round_without_training_again(
    command: Command, hub: HubDouble, home: Home, *, method: str, after: bool, state: State
) -> None:
    log = _killed_at(command, hub, home, (method, "/update"), after=after)
    assert TRAINS in log
    assert _state(home) == state
    done = command.run("once", "--home", str(home.folder), "--timeout", "20")
    assert done.returncode == 0, done.stderr
    assert TRAINS not in done.stderr
    (update,) = hub.rounds[0].updates
    assert (update.state, update.header.attempt) == ("ACCEPTED", 1)
    assert _state(home) == State.ACCEPTED
    assert list(home.rounds.iterdir()) == []


def test_a_kill_while_the_hub_decides_learns_the_word_after_the_restart(
    command: Command, hub: HubDouble, home: Home
) -> None:
    hub.undecided = True
    round_ = hub.open_round()
    process = command.start("run", "--home", str(home.folder))
    wait_until(lambda: _state(home) == State.UPLOADED)
    command.kill(process)
    hub.decide(round_, round_.updates[0], next(iter(hub.agents.values()))[1])
    done = command.run("once", "--home", str(home.folder))
    assert done.returncode == 0, done.stderr
    assert TRAINS not in done.stderr
    assert len(round_.updates) == 1


def test_a_round_that_failed_while_the_agent_was_dead_makes_way_for_the_next(
    command: Command, hub: HubDouble, home: Home
) -> None:
    _killed_at(command, hub, home, ("GET", "/update"))
    hub.close(hub.rounds[0])
    hub.open_round(2)
    first = command.run("once", "--home", str(home.folder))
    assert first.returncode == 5, first.stderr
    assert "round_closed" in first.stderr
    second = command.run("once", "--home", str(home.folder), "--timeout", "20")
    assert second.returncode == 0, second.stderr
    assert len(hub.rounds[1].updates) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_waiting_service_at_once_and_cleanly(
    command: Command, hub: HubDouble, home: Home, number: signal.Signals
) -> None:
    process = command.start("run", "--home", str(home.folder))
    hub.wait_for(lambda: hub.count("GET", "/task") > 0)
    process.send_signal(number)
    _, err = process.communicate(timeout=5)
    assert process.returncode == 0, err
    assert err.splitlines()[-1].endswith("INFO stopped; an open round goes on at the next start")


def test_a_second_agent_with_the_same_home_is_kept_out(command: Command, hub: HubDouble, home: Home) -> None:
    command.start("run", "--home", str(home.folder))
    hub.wait_for(lambda: hub.count("GET", "/task") > 0)
    second = command.run("once", "--home", str(home.folder))
    assert second.returncode == 3
    assert "(home_busy)" in second.stderr


# -- an update of several parts ---------------------------------------------------------------------------------------

# The first has 64 KiB, each that arrives quickly lets the next one be four times as large.
FOURTH = f"offset={21 << 16}"


@pytest.fixture
def big_hub() -> HubDouble:
    return HubDouble(architecture="vgg16-head256")


@pytest.fixture
def big_home(tmp_path: Path, big_hub: HubDouble, scans: Path) -> Home:
    """An agent of the large model, whose feature cache is full: TensorFlow is never needed."""
    big_hub.start()
    place = Home(tmp_path / "big")
    enrol(place, hub=big_hub.url, code="one-time-code", data=scans)
    architecture = get("vgg16-head256")
    cache = FeatureCache(place.features, backbone.VGG16_DIGEST, architecture.name)
    rng = np.random.default_rng(0)
    with open_dataset(scans, architecture.class_names) as dataset:
        for scan in dataset.scans:
            cache.write(content_digest(scan.read()), rng.random(architecture.feature_dim, np.float32))
    return place


def test_a_kill_between_two_parts_goes_on_with_the_next_part(
    command: Command, big_hub: HubDouble, big_home: Home
) -> None:
    try:
        round_ = big_hub.open_round()
        hold = big_hub.hold("PUT", FOURTH)
        process = command.start("run", "--home", str(big_home.folder))
        assert hold.arrived.wait(PATIENCE_SECONDS)
        command.kill(process)
        hold.go.set()
        done = command.run("once", "--home", str(big_home.folder), "--timeout", "20")
        assert done.returncode == 0, done.stderr
        assert TRAINS not in done.stderr
        assert big_hub.count("PUT", "offset=0") == 1
        assert len(round_.updates[0].sealed) < 8_500_000
    finally:
        big_hub.stop()


def test_a_connection_that_breaks_inside_a_part_costs_that_part_only(
    command: Command, big_hub: HubDouble, big_home: Home
) -> None:
    try:
        round_ = big_hub.open_round()
        big_hub.inject("PUT", FOURTH, cut_upload(100_000))
        done = command.run("once", "--home", str(big_home.folder), "--timeout", "20")
        assert done.returncode == 0, done.stderr
        offsets = [int(seen.path.partition("offset=")[2]) for seen in big_hub.seen if seen.method == "PUT"]
        # After the break the parts are smaller for a while.
        assert offsets[:5] == [0, 1 << 16, 5 << 16, 21 << 16, 21 << 16]
        assert offsets[4:] == sorted(set(offsets[4:]))
        assert round_.updates[0].header.attempt == 1
    finally:
        big_hub.stop()
