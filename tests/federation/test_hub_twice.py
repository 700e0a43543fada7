"""Every step done twice in the same moment leaves the hub as if it had been done once.

HOSPINTEL_TEST_REPEATS=100 does each a hundred times; without it, twice.
"""

import json
import os
import re
import shutil
import sqlite3
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from django.apps import apps
from django.conf import settings
from django.db import connection, connections, models
from site_agent import report
from validating import bring
from world import DATABASE, database_file

from apps.audit.api import verify
from apps.audit.models import AuditEntry
from apps.federation import tasks
from apps.federation.models import Attempt
from apps.federation.pipeline import tick, validation
from apps.federation.pipeline.attempts import attempt
from apps.federation.pipeline.step import Next
from apps.federation.pipeline.verify_audit import ask

REPEATS = int(os.environ.get("HOSPINTEL_TEST_REPEATS", "2"))
FOLDERS = ("UPLOAD_DIR", "MODEL_DIR", "KEYS")
# Counters, and what is random or a time: it is another each time.
OTHER = {"tries", "round_kid", "kid", "nonce", "prev_hash", "entry_hash", "body", "ts_us", "seq"}
_ID = re.compile(r"\b[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}\b")

pytestmark = pytest.mark.skipif(connection.vendor != "sqlite", reason="the database is copied as a file")


def ids():
    """All ids of rows that are there."""
    kinds = [kind for kind in apps.get_models() if isinstance(kind._meta.pk, models.UUIDField)]
    return {str(pk) for kind in kinds for pk in kind._default_manager.values_list("pk", flat=True)}


def told(value, known):
    """A value in which ids that were not there before are all the same."""
    return _ID.sub(lambda found: found[0] if found[0] in known else "new", str(value))


def state_of_the_hub(known):
    """All rows and files, without times and ids that are new."""
    found = Counter()
    for label in ("federation", "finetune", "analyse", "accounts"):
        for kind in apps.get_app_config(label).get_models():
            skipped = (models.DateTimeField, models.BinaryField)
            columns = [
                f.attname for f in kind._meta.concrete_fields if not isinstance(f, skipped) and f.name not in OTHER
            ]
            if kind is not Attempt:
                found.update(
                    told([kind._meta.label, *row], known) for row in kind._default_manager.values_list(*columns)
                )
    for body in AuditEntry.objects.values_list("body", flat=True):
        entry = {name: value for name, value in json.loads(bytes(body)).items() if name not in {*OTHER, "prev"}}
        found[told(sorted(entry.items()), known)] += 1
    for name in FOLDERS:
        folder = Path(getattr(settings, name))
        found.update(told(path.relative_to(folder), known) for path in folder.rglob("*") if path.is_file())
    assert verify().ok
    return found


@pytest.fixture
def copied(hub, own_keys, tmp_path):
    """Let the hub be a copy of itself for a while."""
    place = tmp_path / "copy"

    class Copied:
        def __enter__(self):
            connections.close_all()
            place.mkdir()
            with (
                closing(sqlite3.connect(connection.settings_dict["NAME"])) as here,
                closing(sqlite3.connect(place / DATABASE)) as there,
            ):
                here.backup(there)
            self.kept = {name: getattr(settings, name) for name in FOLDERS}
            for name, folder in self.kept.items():
                if Path(folder).exists():
                    shutil.copytree(folder, place / name)
                setattr(settings, name, place / name)
            self.database = database_file(place / DATABASE)
            self.database.__enter__()

        def __exit__(self, *error):
            self.database.__exit__(*error)
            for name, folder in self.kept.items():
                setattr(settings, name, folder)
            shutil.rmtree(place)

    return Copied


def at_once(do, times=2):
    """Do it in as many threads in the same moment. Returns what each gave."""
    ready = threading.Barrier(times)

    def one(_):
        try:
            ready.wait()
            return do()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(one, range(times)))


@pytest.fixture
def twice_as_once(copied, monkeypatch):
    """Do a step as a worker does, twice at once on copies of the hub and once on it; returns what follows."""

    def compare(step, pk):
        known, found = ids(), []
        for _ in range(REPEATS):
            with copied():
                given = at_once(lambda: attempt(step, pk, tasks.STEPS[step]))
                found.append((state_of_the_hub(known), {told(item, known) for items in given for item in items}))
        following = attempt(step, pk, tasks.STEPS[step])
        once = state_of_the_hub(known), {told(item, known) for item in following}
        for there, steps in found:
            assert there - once[0] == once[0] - there == Counter(), step
            assert steps == once[1], step
        return following

    return compare


def test_every_step_done_twice_at_once_changes_the_hub_once(hub, cast, north, south, own_keys, twice_as_once):
    seen = Counter()

    def all_of(waiting):
        waiting = list(waiting)
        while waiting:
            current = waiting.pop(0)
            waiting += twice_as_once(current.step, current.id)
            seen[current.step] += 1

    def queued():
        return [Next(task["name"], task["pk"]) for task in hub.queued()]

    hub.configure(evaluate_quorum=2)
    all_of(tick.due())
    run = hub.start_run()
    for agent in (north, south):
        agent.poll()
    hub.queued()
    all_of([Next("open", run.pk)])
    for seed, agent in enumerate((north, south)):
        agent.take_part(seed=seed)
        all_of(queued())
    for agent in (north, south):
        assert agent.evaluate(report()).status_code == 200
        all_of(queued())
    all_of(ask(actor="user:1"))
    all_of(validation.use(bring(hub, cast.admin), actor=cast.admin.actor))
    assert seen.keys() == tasks.STEPS.keys()
    assert hub.current_round().state == "PUBLISHED"
