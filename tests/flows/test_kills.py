"""Processes that die or stand still in the middle of a round: nothing is lost, nothing is done twice."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import office
import pytest
from drawn import draw_scans
from harness import Federation, Found, Hub


@contextmanager
def frozen(pids: list[int]) -> Iterator[None]:
    """Let processes stand still for the time of the block, unless it kills them."""
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                continue


@contextmanager
def agents_frozen(federation: Federation) -> Iterator[None]:
    """Let all agents stand still."""
    federation.until_online()
    with frozen([federation.hub.processes.process(name).pid for name in federation.hospitals]):
        yield


def trainings(federation: Federation, hospital: str, number: int) -> int:
    """How often the hospital's agent finished a training for the round."""
    return federation.log(hospital).count(f"round {number}: trained in")


def wait_for_word(federation: Federation, hospital: str, round_id: str) -> str:
    """Ask with the agent's token what became of its update, and wait for a minute; half of it is too long."""
    config = json.loads((federation.hub.processes.home(hospital) / "config.json").read_text())
    answer = httpx.get(
        f"{config['hub']}/api/v1/rounds/{round_id}/update",
        params={"wait": 60},
        headers={"Authorization": f"Bearer {config['token']}"},
        timeout=30,
    )
    return str(answer.json()["state"])


@pytest.fixture
def many_scans(tmp_path: Path) -> Path:
    """So many that training takes a moment."""
    draw_scans(tmp_path / "many", 25, seed=9)
    return tmp_path / "many"


def test_an_agent_killed_after_its_training_uploads_without_training_again(
    found: Found, hub: Hub, many_scans: Path
) -> None:
    federation = found(1, scans=[many_scans])
    (name,) = federation.hospitals
    federation.until_online()
    run = federation.run(rounds=1, epochs=100, batch_size=1)
    models = hub.processes.home(name) / "models"
    federation.until(lambda: any(models.glob("*.safetensors")), "the agent has the model and trains")
    with frozen([hub.child("hospintel_site.server")]):
        federation.until(lambda: federation.journal(name)[0]["state"] == "TRAINED", "the agent has trained")
        federation.signal(name, signal.SIGKILL)
        federation.wait(name)
    federation.start_agent(name)
    (round_,) = federation.until_run_is("DONE", run)
    assert round_["state"] == "PUBLISHED"
    assert trainings(federation, name, 1) == 1


def test_an_agent_killed_while_its_update_is_inspected_learns_of_it_after_its_restart(found: Found, hub: Hub) -> None:
    federation = found(2)
    killed, _ = federation.hospitals
    with agents_frozen(federation):
        run = federation.run(rounds=2)
        federation.until_round(1, "COLLECTING", run)
        worker = hub.worker()
        for pid in worker:
            os.kill(pid, signal.SIGSTOP)
    with frozen(worker):
        federation.until(
            lambda: [row["state"] for row in federation.journal(killed)] == ["UPLOADED"], "the hub has the update"
        )
        federation.signal(killed, signal.SIGKILL)
        federation.wait(killed)
        (round_,) = federation.rounds(run)
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(wait_for_word, federation, killed, round_["id"])
            federation.until(waiting.running, "somebody waits for the hub's word in the agent's place")
            for pid in worker:
                os.kill(pid, signal.SIGCONT)
            assert waiting.result() in {"ACCEPTED", "CONSUMED"}, "the hub answers as soon as it has decided"
    federation.start_agent(killed)
    rounds = federation.until_run_is("DONE", run)
    assert [r["updates"] for r in rounds] == [[(name, "CONSUMED") for name in federation.hospitals]] * 2
    assert trainings(federation, killed, 1) == 1
    assert {row["state"] for row in federation.journal(killed)} == {"ACCEPTED"}


def test_a_round_completes_although_the_worker_was_killed_in_it(found: Found, hub: Hub) -> None:
    federation = found(2)
    with agents_frozen(federation):
        run = federation.run(rounds=2)
        federation.until_round(1, "COLLECTING", run)
        worker = hub.worker()
        for pid in worker:
            os.kill(pid, signal.SIGSTOP)
    with frozen(worker):
        federation.until(
            lambda: hub.ask(office.update_states, run) == ["RECEIVED", "RECEIVED"], "both updates wait for the worker"
        )
        for pid in worker:
            os.kill(pid, signal.SIGKILL)
    rounds = federation.until_run_is("DONE", run)
    assert [(r["state"], r["attempt"]) for r in rounds] == [("PUBLISHED", 1)] * 2
    assert [r["updates"] for r in rounds] == [[(name, "CONSUMED") for name in federation.hospitals]] * 2
    assert hub.worker()[0] != worker[0], "the supervisor has started another"


def test_a_worker_whose_idle_processes_were_killed_goes_on(found: Found, hub: Hub) -> None:
    """As the kernel does when memory is short: with folders, who waits for a task has the lock under which all wait."""
    federation = found(2)
    federation.until_online()
    main, *idle = hub.worker()
    assert len(idle) == 2
    for pid in idle:
        os.kill(pid, signal.SIGKILL)
    (round_,) = federation.until_run_is("DONE", federation.run(rounds=1))
    assert (round_["state"], round_["attempt"]) == ("PUBLISHED", 1)
    # With Redis each process has a pipe of its own, and the worker starts others by itself.
    assert (hub.worker()[0] == main) == ("REDIS_URL" in hub.variables), "the supervisor starts another where it has to"


@pytest.mark.parametrize("end", [Hub.stop, Hub.power_off], ids=["away", "power_failure"])
def test_a_run_goes_on_after_the_hub_was_gone(found: Found, hub: Hub, end: Callable[[Hub], None]) -> None:
    federation = found(2)
    run = federation.run(rounds=100)
    federation.until_round(1, "PUBLISHED", run)
    end(hub)
    for name in federation.hospitals:
        federation.until(lambda name=name: "next try in" in federation.log(name), "the agent has noticed")
    hub.start()
    before = len(federation.rounds(run))
    federation.until(lambda: len(federation.rounds(run)) > before + 1, "rounds go on")
    hub.ask(office.abort, run)
    done = [r for r in federation.rounds(run) if r["state"] == "PUBLISHED"]
    assert [r["number"] for r in done] == list(range(1, len(done) + 1)), "no round is missing or published twice"
    assert all(r["updates"] == [(name, "CONSUMED") for name in federation.hospitals] for r in done)
    for name in federation.hospitals:
        assert hub.processes.process(name).poll() is None, "the agent never had to be started again"
    assert hub.ask(office.audit_holds)
