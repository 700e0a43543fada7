"""The demo's side of the hub: through the same functions as the commands and the API."""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from uuid import UUID

from django.core.management import call_command
from django.db import close_old_connections

from apps.accounts.models import Role
from apps.accounts.pipeline import add_member, create_hospital, create_person
from apps.federation.models import Federation, ModelVersion, Round, Run
from apps.federation.pipeline import bootstrap, enrol, keys, model_files, runs, storage
from apps.federation.queries import headline, situation
from apps.federation.states import RoundState, RunState
from apps.federation.tasks import enqueue
from hospintel_core.architectures import Architecture
from hospintel_core.weights import Arrays
from hospintel_site.demo.errors import DemoError
from hospintel_site.demo.options import Options
from hospintel_site.demo.processes import HUB, Processes
from hospintel_site.demo.progress import Progress
from hospintel_site.demo.summary import HEADER, RoundFigures, figures, row

DEMO = "system:demo"
LOOK_SECONDS = 0.2
SILENT_SECONDS = 1800


def prepare(options: Options) -> None:
    """Make the database and the federation; its quorum is all hospitals."""
    call_command("migrate", verbosity=0)
    keys.ensure_keys()
    bootstrap.ensure_federation(architecture=options.architecture, min_updates=options.hospitals)


def people_and_codes(options: Options, passwords: Mapping[str, str]) -> Iterator[str]:
    """Create the people and the hospitals, and give a one-time code for each hospital."""
    create_person("admin", passwords["admin"], role=Role.ADMIN, actor=DEMO)
    doctor = create_person("doctor", passwords["doctor"], role=Role.DOCTOR, actor=DEMO)
    federation = Federation.objects.get(pk=bootstrap.DEFAULT_SLUG)
    for name in options.names:
        hospital = create_hospital(name, actor=DEMO)
        if name == options.names[0]:
            add_member(doctor, hospital, actor=DEMO)
        enrol.switch_workbench(enrol.join(federation, hospital, actor=DEMO), on=True, actor=DEMO)
        yield enrol.issue_code(hospital, actor=DEMO)[0]


def start_run(options: Options) -> UUID:
    """Start the run."""
    federation = Federation.objects.get(pk=bootstrap.DEFAULT_SLUG)
    plan: dict[str, object] = {"epochs": options.epochs, "seed": options.seed}
    if options.smoke:
        plan["learning_rate"] = 3e-3
    run, following = runs.start_run(federation, rounds=options.rounds, plan=plan, actor=DEMO)
    enqueue(following)
    return run.pk


def watch(run_id: UUID, options: Options, processes: Processes, say: Callable[[str], None]) -> list[RoundFigures]:
    """Print a line a round until the run has ended. Returns the figures of every published round.

    A version's accuracy is known when the agents have reported on it: with the next round's updates, or with the
    evaluation that ends the run.

    Raises:
        DemoError: a process died, the run did not end well, or nothing happened for half an hour.
    """
    journals = [processes.home(name) / "journal.sqlite3" for name in options.processes]
    progress = Progress(dict(zip(options.processes, options.names, strict=True)), processes.tail, say)
    say(HEADER)
    printed: list[RoundFigures] = []
    last = time.monotonic()
    while True:
        processes.check()
        run = Run.objects.select_related("federation__current").get(pk=run_id)
        for version in _measured_versions(run)[len(printed) :]:
            printed.append(figures(version, journals))
            say(row(printed[-1]))
            progress.reset()
            last = time.monotonic()
        if run.state == RunState.DONE and len(printed) == options.rounds:
            return printed
        if run.state not in {RunState.RUNNING, RunState.DONE}:
            raise DemoError(f"The run is {run.state}.")
        if time.monotonic() - last > SILENT_SECONDS:
            raise DemoError(f"Nothing happened for {SILENT_SECONDS} s:\n{processes.tail(HUB)}")
        progress.look(partial(_what_goes_on, run.federation))
        close_old_connections()
        time.sleep(LOOK_SECONDS)


def _what_goes_on(federation: Federation) -> str:
    return headline(situation(federation))


def _measured_versions(run: Run) -> list[ModelVersion]:
    """Return the versions of a run on which the agents have reported, in order."""
    versions = ModelVersion.objects.filter(round__run=run, number__isnull=False).select_related("round")
    published = list(versions.order_by("number"))
    rounds = list(Round.objects.filter(run=run).exclude(state=RoundState.FAILED).order_by("number"))
    done: list[ModelVersion] = []
    for version in published:
        following = [r for r in rounds if r.base_id == version.pk and r.closed_at is not None]
        ended = version.round is not None and version.round.evaluation_closed_at is not None
        if following or ended or run.state == RunState.DONE:
            done.append(version)
    return done


def save_model(target: Path, patience: float) -> str:
    """Copy the current version's Keras file, once the worker has written it. Returns the head's digest.

    Raises:
        DemoError: it was not written in time.
    """
    current = Federation.objects.select_related("current").get(pk=bootstrap.DEFAULT_SLUG).current
    if current is None:
        raise DemoError("There is no current version.")
    deadline = time.monotonic() + patience
    while (found := model_files.checked(current.digest)) is None:
        if time.monotonic() > deadline:
            raise DemoError("The worker did not write global_model.h5; hub.log says why.")
        time.sleep(LOOK_SECONDS)
    with storage.models().local(found[0].name) as path:
        shutil.copyfile(path, target)
    return current.digest


def final_head(architecture: Architecture) -> Arrays:
    """Return the current version's head."""
    current = Federation.objects.select_related("current").get(pk=bootstrap.DEFAULT_SLUG).current
    if current is None:
        raise DemoError("There is no current version.")
    return storage.read_head(current.digest, architecture.head_schema)
