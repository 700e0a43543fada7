"""A hub under load: dashboards that are open while agents upload; and a round of very many hospitals.

A dashboard fetches its page anew after events, and now and then, as static/js/live.js has it. Uploads come as parts of
1 MB, one a second. The generator holds itself to half a core; the hub has the rest of the machine.
"""

import base64
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.contrib.auth.hashers import make_password

from apps.accounts.models import Role, User
from apps.accounts.pipeline import add_member, create_hospital
from apps.federation.models import Federation, Round, Run
from apps.federation.pipeline import bootstrap, enrol, runs
from apps.federation.states import RoundState
from apps.federation.tasks import enqueue
from benchmarks import hub
from hospintel_site.demo.processes import HUB, Processes
from tools import stand_in
from tools.processes import memory
from tools.stand_in import StandIn

BENCH = "system:bench"
ARCHITECTURE = "vgg16-head256"
PASSWORD = "seven-horses-on-a-hill"
RUNS, DASHBOARDS, AGENTS = 3, 200, 40
SECONDS = int(os.environ.get("HOSPINTEL_BENCH_SECONDS", "300"))
SHARE = 0.5
# The first and the last part of a run, whose memory is compared; the very beginning is left out.
SETTLED, WINDOW = 0.2, 0.2
LOOK_SECONDS = 1.0


def run(folder: Path) -> None:
    """Print a row for each of three runs."""
    federation = bootstrap.ensure_federation(architecture=ARCHITECTURE, min_updates=1, grace=86_400, deadline=86_400)
    hospital = create_hospital("Load", actor=BENCH)
    enrol.join(federation, hospital, actor=BENCH)
    people = [f"reader{number}" for number in range(DASHBOARDS)]
    # Hashing it for each of them would take minutes.
    hashed = make_password(PASSWORD)
    for name in people:
        add_member(User.objects.create(username=name, password=hashed, role=Role.USER), hospital, actor=BENCH)
    # One more, which is asked and sends nothing: the round stays open.
    agents = [member(federation, f"Hospital {number}") for number in range(AGENTS + 1)]
    with hub.running(folder, ARCHITECTURE) as processes, _generator() as generator:
        start = {"port": processes.port, "people": people, "password": PASSWORD, "share": SHARE}
        start["agents"] = [(str(one.agent_id), one.token, base64.b64encode(one.key).decode()) for one in agents]
        _say(generator, {**start, "slug": federation.slug, "architecture": ARCHITECTURE})
        _heard(generator)
        print(f"\n{DASHBOARDS} dashboards, a part of 1 MB a second, {SECONDS} s; generator held to {SHARE} of a core")
        print("| pages | p95 page | p95 accept | parts | updates | wrong | memory | drift | generator |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
        for _ in range(RUNS):
            print(_one_run(processes, generator, federation), flush=True)
        _say(generator, {})


def _one_run(processes: Processes, generator: "subprocess.Popen[str]", federation: Federation) -> str:
    _say(generator, {"seconds": SECONDS})
    _heard(generator)
    started, following = runs.start_run(federation, rounds=1, plan={}, actor=BENCH)
    enqueue(following)
    _until_open(started)
    _say(generator, {})
    sizes, end = [], time.monotonic() + SECONDS
    while time.monotonic() < end:
        sizes.append(memory(processes.process(HUB).pid).now)
        time.sleep(LOOK_SECONDS)
    found = _heard(generator)
    enqueue(runs.abort(Run.objects.get(pk=started.pk), actor=BENCH))
    window = int(len(sizes) * WINDOW)
    first = statistics.mean(sizes[int(len(sizes) * SETTLED) :][:window])
    last = statistics.mean(sizes[-window:])
    cells = (
        len(found["pages"]),
        f"{_p95(found['pages']) * 1000:.0f} ms",
        f"{_p95(found['accepts']) * 1000:.0f} ms",
        len(found["accepts"]),
        found["updates"],
        found["wrong"] or 0,
        f"{last / 1e6:.0f} MB",
        f"{100 * (last / first - 1):+.1f} %",
        f"{found['share']:.2f} cores",
    )
    return "| " + " | ".join(map(str, cells)) + " |"


def _p95(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=20)[-1] if len(seconds) > 1 else float("nan")


def member(federation: Federation, name: str) -> StandIn:
    """Enrol an agent of a hospital of its own."""
    hospital = create_hospital(name, actor=BENCH)
    enrol.join(federation, hospital, actor=BENCH)
    return stand_in.enrol(hospital, actor=BENCH)


def _until_open(started: Run) -> None:
    end = time.monotonic() + 60
    while not Round.objects.filter(run=started, state=RoundState.COLLECTING).exists():
        if time.monotonic() > end:
            raise TimeoutError("No round opened.")
        time.sleep(LOOK_SECONDS)


@contextmanager
def _generator() -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "benchmarks.browsers"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


def _say(generator: "subprocess.Popen[str]", what: object) -> None:
    assert generator.stdin is not None
    generator.stdin.write(json.dumps(what) + "\n")
    generator.stdin.flush()


def _heard(generator: "subprocess.Popen[str]") -> Any:
    assert generator.stdout is not None
    line = generator.stdout.readline()
    if not line:
        raise RuntimeError("The generator of load has ended.")
    return json.loads(line)
