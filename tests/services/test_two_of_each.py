"""A hub of several processes of each kind: rounds go on whatever dies, and every page sees what happens anywhere."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import office
import pytest
from browser_socket import BrowserSocket
from cluster import KINDS, MACHINES, Cluster
from django.conf import settings
from harness import Federation
from test_live_path import PASSWORD, Tab

pytestmark = pytest.mark.skipif(not settings.REDIS_URL, reason="make test-services runs it")
Found = Callable[..., Federation]
# What the hub promises of a quiet machine: from the commit of a publication to the page of either web process. On one
# that has more to do than it has cores a message may be late by no fault of the hub: there it has to come at all.
WITHIN, AT_ALL = 1.0, 60.0


@pytest.fixture
def found(cluster: Cluster, scans: list[Path], request: pytest.FixtureRequest) -> Iterator[Found]:
    """Make a federation: its agents run until the test has ended."""
    made: list[Federation] = []

    def make(**limits: object) -> Federation:
        slug = request.node.name.removeprefix("test_").replace("_", "-")[:40].strip("-")
        made.append(Federation(cluster, slug, scans, **limits))
        made[-1].until_online()
        return made[-1]

    yield make
    for federation in made:
        federation.close()


@contextmanager
def updates_waiting(cluster: Cluster, federation: Federation, rounds: int) -> Iterator[str]:
    """A run whose first round has all its updates, and no worker that looks at them; what is alive then goes on."""
    agents = [cluster.processes.process(name) for name in federation.hospitals]
    for agent in agents:
        agent.send_signal(signal.SIGSTOP)
    run = federation.run(rounds=rounds)
    federation.until_round(1, "COLLECTING", run)
    cluster.signal(signal.SIGSTOP, "default", *MACHINES)
    for agent in agents:
        agent.send_signal(signal.SIGCONT)
    received = ["RECEIVED"] * len(agents)
    federation.until(lambda: cluster.ask(office.update_states, run) == received, "the updates wait for a worker")
    yield run
    alive = [machine for machine in MACHINES if f"default{machine}" in cluster.running]
    cluster.signal(signal.SIGCONT, "default", *alive)


def see_all_published(federation: Federation, run: str, rounds: int) -> None:
    """Nothing was lost, nothing was done twice, no round had to be tried again."""
    done = federation.until_run_is("DONE", run)
    assert [(r["number"], r["attempt"], r["state"]) for r in done] == [(n + 1, 1, "PUBLISHED") for n in range(rounds)]
    assert [r["updates"] for r in done] == [[(name, "CONSUMED") for name in federation.hospitals]] * rounds
    assert federation.hub.ask(office.audit_holds)


def lag(socket: BrowserSocket, logs: Callable[[], str]) -> float:
    """Seconds from the commit of the run's publication to its arrival at a page."""
    deadline = time.monotonic() + AT_ALL
    while time.monotonic() < deadline:
        events = socket.receive(deadline - time.monotonic())
        assert not isinstance(events, int), f"the socket was closed with {events}\n{logs()}"
        for event in events:
            if event["action"] == "round.published":
                return time.time() - event["ts_us"] / 1e6
    raise AssertionError(f"no page was told of the publication\n{logs()}")


def test_a_publication_is_seen_on_either_web_process(
    cluster: Cluster, found: Found, capsys: pytest.CaptureFixture[str]
) -> None:
    federation = found()
    doctor = cluster.ask(office.create_doctor, "watcher", PASSWORD)
    # Signed in by one of them, known to both.
    tab = Tab(cluster, doctor)
    sockets = [BrowserSocket(port, tab.cookie) for port in cluster.ports.values()]
    run = federation.run(rounds=1)
    with ThreadPoolExecutor() as pool:
        lags = list(pool.map(lambda socket: lag(socket, cluster.logs), sockets))
    busy = os.getloadavg()[0] > (os.cpu_count() or 1)
    with capsys.disabled():
        seen = ", ".join(f"{seconds:.2f} s" for seconds in lags)
        print(f"\na publication was seen on either web process after {seen} (load {os.getloadavg()[0]:.1f})")
    assert max(lags) < (AT_ALL if busy else WITHIN)
    see_all_published(federation, run, 1)
    for socket in sockets:
        socket.close()
    tab.close()


def test_a_round_finishes_although_one_of_each_process_is_killed_in_it(cluster: Cluster, found: Found) -> None:
    federation = found()
    with updates_waiting(cluster, federation, rounds=2) as run:
        for kind in KINDS:
            cluster.signal(signal.SIGKILL, kind, "1")
    see_all_published(federation, run, 2)
    cluster.start_missing()


def test_a_broker_that_forgets_everything_loses_no_round(cluster: Cluster, found: Found) -> None:
    federation = found()
    with updates_waiting(cluster, federation, rounds=2) as run, cluster.queue.client() as client:
        assert client.llen("default") > 0
        client.flushall()
    see_all_published(federation, run, 2)


def test_a_broker_that_dies_and_comes_back_loses_no_round(cluster: Cluster, found: Found) -> None:
    federation = found()
    cluster.queue.stop(signal.SIGKILL)
    # The round opens and the updates come in while it is away.
    agents = [cluster.processes.process(name) for name in federation.hospitals]
    run = federation.run(rounds=2)
    time.sleep(3)
    assert all(agent.poll() is None for agent in agents)
    cluster.queue.start()
    see_all_published(federation, run, 2)


def test_a_database_that_is_started_anew_loses_no_round(cluster: Cluster, found: Found) -> None:
    federation = found()
    with updates_waiting(cluster, federation, rounds=2) as run:
        cluster.database.stop()
        cluster.database.start()
    see_all_published(federation, run, 2)


def test_agents_that_wait_hold_no_connection_of_the_database(cluster: Cluster, found: Found) -> None:
    federation = found()
    home = cluster.processes.home(federation.hospitals[0])
    config = json.loads((home / "config.json").read_text())
    address = f"http://127.0.0.1:{cluster.ports['1']}"
    headers = {"Authorization": f"Bearer {config['token']}"}
    path = f"{address}/api/v1/federations/{federation.slug}/task"
    with ThreadPoolExecutor(60) as pool, httpx.Client(headers=headers, timeout=240) as client:
        waiting = [pool.submit(client.get, path, params={"wait": 20}) for _ in range(60)]
        time.sleep(5)
        # The pool has eight; whoever waited with one would leave none for this call.
        assert client.get(path).status_code == 204
        assert {one.result().status_code for one in waiting} == {204}
