"""A fine-tuning job whose worker, hub or web process dies at any point: it ends right, once, and no scan is left."""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import httpx
import office
import pytest
from harness import Hub, descendants, eventually
from job_doctor import EPOCHS, SCANS, Doctor
from standstill import Failpoints


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> Failpoints:
    return Failpoints(tmp_path_factory.mktemp("failpoints"))


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, points: Failpoints) -> Iterator[Hub]:
    """A hub of which every process can be caught."""
    hub = Hub(tmp_path_factory.mktemp("hub"), **points.environment)
    yield hub
    hub.close()


@pytest.fixture
def doctor(hub: Hub, request: pytest.FixtureRequest) -> Iterator[Doctor]:
    doctor = Doctor(hub, seed=sum(request.node.name.encode()))
    yield doctor
    doctor.http.post("/logout")
    doctor.http.close()


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def one_process(hub: Hub, pid: int) -> None:
    """The process that does the task, and nothing else: its worker goes on with another."""
    kill(pid)


def worker(hub: Hub, pid: int) -> None:
    """The worker with all its processes: the supervisor starts another."""
    main = hub.child("hospintel_site.worker training")
    pids = [main, *descendants(main)]
    assert pid in pids
    for one in pids:
        kill(one)


def whole_hub(hub: Hub, pid: int) -> None:
    """Everything at once, as a power failure does; then the hub is started again."""
    hub.power_off()
    hub.start()


@dataclass(frozen=True)
class Point:
    """Where the process is caught, who dies, and how many workers the job needs then."""

    failpoint: str
    passes: int
    dies: Callable[[Hub, int], None]
    attempts: int


POINTS = {
    "features half done": Point("train.scan_read", SCANS // 2, one_process, 2),
    "between epochs": Point("train.epoch", EPOCHS // 2, worker, 2),
    "weights not stored": Point("train.trained", 0, worker, 2),
    "weights stored": Point("train.stored", 0, whole_hub, 2),
    "end not committed": Point("train.before_commit", 0, worker, 2),
    "scans not deleted": Point("train.committed", 0, one_process, 1),
    "key deleted alone": Point("vault.key_erased", 0, worker, 1),
    "deletion not recorded": Point("erase.scans_gone", 0, worker, 1),
}


@pytest.mark.parametrize("name", POINTS)
def test_a_job_whose_worker_is_killed_ends_right_and_once(
    hub: Hub, points: Failpoints, doctor: Doctor, name: str
) -> None:
    point = POINTS[name]
    wanted = hub.ask(office.head_of_job, doctor.job, EPOCHS)
    points.arm(point.failpoint, point.passes)
    doctor.fine_tune()
    point.dies(hub, points.caught(point.failpoint, hub))
    points.disarm(point.failpoint)
    told = doctor.until("DONE")
    assert [one["epoch"] for one in told["progress"]["epochs"]] == list(range(1, EPOCHS + 1))
    assert hub.ask(office.job_as_kept, doctor.job)["digest"] == wanted
    eventually(lambda: doctor.state()["erased_at"], "its scans are deleted", hub.logs)
    assert doctor.propose().status_code == 200
    ended_once(hub, doctor, attempts=point.attempts)


BY_ITSELF = {
    "done, nobody told": Point("train.committed", 0, one_process, 1),
    "begun": Point("propose_job.begun", 0, one_process, 1),
    "not committed": Point("propose.before_commit", 0, whole_hub, 1),
    "committed": Point("propose.committed", 0, one_process, 1),
}


@pytest.mark.parametrize("name", BY_ITSELF)
def test_a_proposal_by_itself_during_which_its_worker_is_killed_is_made_once(
    hub: Hub, points: Failpoints, doctor: Doctor, name: str
) -> None:
    point = BY_ITSELF[name]
    points.arm(point.failpoint)
    doctor.fine_tune(propose=True, note="from a flow")
    pid = points.caught(point.failpoint, hub)
    assert doctor.state()["state"] == ("PROPOSED" if name == "committed" else "DONE")
    point.dies(hub, pid)
    points.disarm(point.failpoint)
    doctor.until("PROPOSED")
    eventually(lambda: doctor.state()["erased_at"], "its scans are deleted", hub.logs)
    # What was begun a second time, too late, changes nothing.
    eventually(lambda: not hub.ask(office.attempts_of, doctor.job), "nothing is left to be done", hub.logs)
    ended_once(hub, doctor, attempts=point.attempts)


def ended_once(hub: Hub, doctor: Doctor, *, attempts: int) -> None:
    """One end, one deletion, one version, nothing of the scans on the disk, and an audit that holds."""
    job = f"job:{doctor.job}"
    done = hub.ask(office.events, "job.done", job)
    erased = hub.ask(office.events, "job.erase", job)
    proposed = hub.ask(office.events, "job.proposed", job)
    assert (len(done), [entry["facts"]["scans"] for entry in erased], len(proposed)) == (1, [SCANS], 1)
    kept = hub.ask(office.job_as_kept, doctor.job)
    assert (kept["attempts"], kept["versions"]) == (attempts, ["HELD"])
    assert [path for path in (hub.folder / "var").rglob("*") if doctor.job in path.name] == []
    assert hub.ask(office.audit_holds)


@pytest.mark.parametrize(("point", "again"), [("propose.before_commit", 200), ("propose.committed", 409)])
def test_a_proposal_during_which_the_web_process_is_killed_is_made_once(
    hub: Hub, points: Failpoints, doctor: Doctor, point: str, again: int
) -> None:
    doctor.fine_tune()
    doctor.until("DONE")
    eventually(lambda: doctor.state()["erased_at"], "its scans are deleted", hub.logs)
    points.arm(point)
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(doctor.propose)
        pid = points.caught(point, hub)
        assert pid == hub.child("hospintel_site.server")
        kill(pid)
        with pytest.raises(httpx.TransportError):
            asked.result()
    eventually(doctor.answered, "the supervisor has started another", hub.logs)
    assert doctor.propose().status_code == again
    assert doctor.state()["state"] == "PROPOSED"
    ended_once(hub, doctor, attempts=1)
