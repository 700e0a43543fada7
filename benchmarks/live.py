"""Rounds of a real hub with agents as real processes: embedded mode, loopback, everything on this machine."""

import itertools
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from apps.accounts.pipeline import create_hospital
from apps.federation.models import Federation, Round, Run
from apps.federation.pipeline import bootstrap, enrol, runs
from apps.federation.states import RunState
from apps.federation.tasks import enqueue
from benchmarks import hub
from benchmarks.measure import Row, show
from hospintel_core import phantoms
from hospintel_site.demo.processes import Processes

PIXELS, VGG = "pixels-head16", "vgg16-head256"
PER_CLASS = 12
TURNS = 2
PIXEL_ROUNDS, VGG_ROUNDS = 11, 6
LOOK_SECONDS = 0.1
PATIENCE_SECONDS = 240


@dataclass(frozen=True)
class Group:
    """A federation and its agents, which poll from the start to the end of the benchmark."""

    slug: str
    name: str
    homes: tuple[Path, ...]
    rounds: int


@dataclass(frozen=True)
class Times:
    """Seconds of one round."""

    whole: float
    manifest: float
    closing: float
    hub: float
    received: float


def run(folder: Path) -> None:
    with hub.running(folder, PIXELS) as processes:
        groups = [
            _group(processes, folder, PIXELS, 3, PIXEL_ROUNDS),
            _group(processes, folder, PIXELS, 10, PIXEL_ROUNDS),
            _group(processes, folder, VGG, 3, VGG_ROUNDS),
            _group(processes, folder, VGG, 10, VGG_ROUNDS),
        ]
        found: dict[str, list[Times]] = {group.name: [] for group in groups}
        for _ in range(TURNS):
            for group in groups:
                found[group.name] += _times(group, _run(group))
    _show("Whole round, publication to publication", found, "whole")
    _show("Publication to the slowest agent's next manifest", found, "manifest")
    _show("Last accepted update to the round's closing", found, "closing")
    _show("Last accepted update to publication (hub_seconds)", found, "hub")
    _show("Last upload complete to publication", found, "received")


def _show(title: str, found: dict[str, list[Times]], figure: str) -> None:
    show(title, [Row(name, [getattr(times, figure) for times in rounds]) for name, rounds in found.items()])


def _group(processes: Processes, folder: Path, architecture: str, count: int, rounds: int) -> Group:
    slug = f"{architecture}-{count}"
    federation = bootstrap.ensure_federation(slug, architecture=architecture, min_updates=count)
    names = [f"{slug}-{number}" for number in range(count)]
    for number, name in enumerate(names):
        hospital = create_hospital(name, actor="system:bench")
        enrol.join(federation, hospital, actor="system:bench")
        processes.enrol(name, enrol.issue_code(hospital, actor="system:bench")[0])
        scans = folder / f"scans-{number}"
        if not scans.exists():
            phantoms.write_folder(scans, PER_CLASS, seed=number)
        program = "client_agent" if architecture == PIXELS else "benchmarks.ready_made"
        processes.start_agent(name, scans, program=program)
    return Group(slug, f"{count} agents, {architecture}", tuple(processes.home(name) for name in names), rounds)


def _run(group: Group) -> UUID:
    run, following = runs.start_run(
        Federation.objects.get(pk=group.slug), rounds=group.rounds, plan={"learning_rate": 3e-3}, actor="system:bench"
    )
    enqueue(following)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while Run.objects.get(pk=run.pk).state != RunState.DONE:
        if time.monotonic() > deadline:
            raise TimeoutError(f"The run of {group.name} did not end.")
        time.sleep(LOOK_SECONDS)
    return run.pk


def _times(group: Group, run_id: UUID) -> list[Times]:
    """Figures of all rounds but the first, in which features may have to be computed."""
    rounds = list(Round.objects.filter(run=run_id).select_related("version").order_by("number"))
    found = []
    for before, round_ in itertools.pairwise(rounds):
        published = round_.version.published_at
        began = before.version.published_at
        last = round_.updates.order_by("-received_at").first()
        found.append(
            Times(
                whole=(published - began).total_seconds(),
                manifest=max(_started(home, round_.pk) for home in group.homes) - began.timestamp(),
                closing=(round_.closed_at - round_.last_accepted_at).total_seconds(),
                hub=(published - round_.last_accepted_at).total_seconds(),
                received=(published - last.received_at).total_seconds(),
            )
        )
    return found


def _started(home: Path, round_id: UUID) -> float:
    """When the agent took the task up, from its own journal; Unix time in seconds."""
    with closing(sqlite3.connect(f"file:{home / 'journal.sqlite3'}?mode=ro", uri=True)) as database:
        query = "SELECT started_ms FROM rounds WHERE round_id = ? AND kind = 'train'"
        return database.execute(query, (str(round_id),)).fetchone()[0] / 1000
