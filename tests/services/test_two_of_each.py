"""A hub of several processes of each kind: rounds go on whatever dies, and every page sees what happens anywhere."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
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


@contextmanager
def dashboards(cluster: Cluster, name: str, machines: Sequence[str]) -> Iterator[list[BrowserSocket]]:
    """The pages of a doctor on the web processes of these machines: signed in by one of them, known to all."""
    tab = Tab(cluster, cluster.ask(office.create_doctor, name, PASSWORD))
    sockets = [BrowserSocket(cluster.ports[machine], tab.cookie) for machine in machines]
    yield sockets
    for socket in sockets:
        socket.close()
    tab.close()


def lags(socket: BrowserSocket, count: int, logs: Callable[[], str]) -> list[float]:
    """Of so many publications: seconds from the commit to the arrival at a page."""
    found: list[float] = []
    deadline = time.monotonic() + AT_ALL * count
    while time.monotonic() < deadline:
        events = socket.receive(deadline - time.monotonic())
        assert not isinstance(events, int), f"the socket was closed with {events}\n{logs()}"
        found += [time.time() - event["ts_us"] / 1e6 for event in events if event["action"] == "round.published"]
        if len(found) >= count:
            return found
    raise AssertionError(f"a page was told of {len(found)} publications of {count}\n{logs()}")


def see_in_time(cluster: Cluster, sockets: list[BrowserSocket], count: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Every page has been told of every publication, and on a machine with nothing else to do at once."""
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda socket: lags(socket, count, cluster.logs), sockets))
    load = os.getloadavg()[0]
    with capsys.disabled():
        for one in found:
            print(
                f"\npublications were seen on a dashboard after {', '.join(f'{seconds:.2f} s' for seconds in one)}",
                end="",
            )
        print(f" (load {load:.1f})")
    busy = load > (os.cpu_count() or 1)
    assert max(seconds for one in found for seconds in one) < (AT_ALL if busy else WITHIN)


def test_publications_are_seen_on_either_web_process(
    cluster: Cluster, found: Found, capsys: pytest.CaptureFixture[str]
) -> None:
    federation = found()
    with dashboards(cluster, "watcher", MACHINES) as sockets:
        run = federation.run(rounds=5)
        see_in_time(cluster, sockets, 5, capsys)
        see_all_published(federation, run, 5)


def test_a_round_finishes_although_one_of_each_process_is_killed_in_it(
    cluster: Cluster, found: Found, capsys: pytest.CaptureFixture[str]
) -> None:
    federation = found()
    with dashboards(cluster, "witness", MACHINES[1:]) as sockets:
        with updates_waiting(cluster, federation, rounds=2) as run:
            for kind in KINDS:
                cluster.signal(signal.SIGKILL, kind, MACHINES[0])
        see_in_time(cluster, sockets, 2, capsys)
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
