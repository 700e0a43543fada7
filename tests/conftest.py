"""What every test may use: a permanent cast of people at two hospitals, and a database that real threads can share."""

import os
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.db import connection
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from apps.accounts.models import Hospital, Role, User
from apps.accounts.pipeline import add_member, create_hospital
from apps.audit import guards
from apps.audit.denials import forget_denials
from apps.federation.views.shared_part import parts
from hospintel_site.celery import app
from tools.services import new_queue

SYSTEM = "system:test"
# How long an example takes is the machine's affair, and machines are shared.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")
# Where a hub with its agents runs for as long as the process does; these files have hubs of their own.
WITH_A_HUB = {"tests/browser", "tests/flows"}
# Half of the pages, by their files' names, are looked at on a second hub: one process would be left with all of them.
SECOND_HUB_FROM = {"tests/browser": "test_f"}
OWN_HUBS = {
    *("test_analyse_vgg.py", "test_day.py", "test_empty_hub.py"),
    *(
        "test_bad_uploads.py",
        "test_bucket.py",
        "test_day_by_api.py",
        "test_demo.py",
        "test_job_kills.py",
        "test_restore.py",
        "test_round_over_tls.py",
        "test_schema_calls.py",
    ),
}
# Their tests are few, and each takes seconds: processes, browsers, TensorFlow, a long search.
SLOW_FOLDERS = {"browser", "chaos", "flows", "site"}
SLOW_FILES = {
    *("test_mutations.py", "test_backbone.py", "test_h5.py", "test_training_reference.py"),
    *("test_reading_reference.py", "test_agent_disk.py", "test_agent_restart.py", "test_agent_doctor.py"),
    *("test_hub_machine.py", "test_concurrency.py"),
}
MEMORY, MUCH = Path("/dev/shm"), 4 << 30


def _keep_in_memory() -> None:
    """Let temporary folders be in memory, where there is much: hubs and agents wait for the disk at each commit."""
    if "TMPDIR" in os.environ or not MEMORY.is_mount() or shutil.disk_usage(MEMORY).free < MUCH:
        return
    # Containers mount it so that nothing in it can be run.
    if os.statvfs(MEMORY).f_flag & os.ST_NOEXEC or not os.access(MEMORY, os.W_OK):
        return
    os.environ["TMPDIR"] = str(MEMORY)
    tempfile.tempdir = None


_keep_in_memory()


def _together(nodeid: str) -> str:
    """Tests of one file run in one process, and so do all that use the hub of their folder."""
    file = nodeid.partition("::")[0]
    folder, _, name = file.rpartition("/")
    if folder not in WITH_A_HUB or name in OWN_HUBS:
        return file
    later = SECOND_HUB_FROM.get(folder)
    return f"{folder} 2" if later and name >= later else folder


class _ByHub(LoadScopeScheduling):
    def _split_scope(self, nodeid: str) -> str:
        return _together(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling:
    """Say what runs together."""
    return _ByHub(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where several processes share the tests: what takes longest begins first, so that none is left with it alone."""
    if not hasattr(config, "workerinput"):
        return
    together = {item: _together(item.nodeid) for item in items}
    sizes = Counter(together.values())

    def urgency(item: pytest.Item) -> tuple[bool, bool, int, str]:
        slow = item.path.parent.name in SLOW_FOLDERS or item.path.name in SLOW_FILES
        with_a_hub = together[item] != item.nodeid.partition("::")[0]
        return not with_a_hub, not slow, -sizes[together[item]], together[item]

    items.sort(key=urgency)


if django_settings.REDIS_URL:
    # Each test process has a queue of its own.
    app.conf.broker_url = new_queue(django_settings.REDIS_URL)

# A shell that starts the tests in the background has them ignore Ctrl-C, and with them every process that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class Cast:
    """An administrator, two hospitals with a doctor each, a plain user, and a doctor who belongs nowhere."""

    admin: User
    north: Hospital
    south: Hospital
    north_doctor: User
    south_doctor: User
    reader: User
    outsider: User


@pytest.fixture
def cast(db: None) -> Cast:
    """The standing cast."""
    north = create_hospital("North Clinic", actor=SYSTEM)
    south = create_hospital("South Clinic", actor=SYSTEM)
    people = {
        name: User.objects.create_user(name, password="correct horse battery", role=role)
        for name, role in {
            "admin": Role.ADMIN,
            "north_doctor": Role.DOCTOR,
            "south_doctor": Role.DOCTOR,
            "reader": Role.USER,
            "outsider": Role.DOCTOR,
        }.items()
    }
    add_member(people["north_doctor"], north, actor=SYSTEM)
    add_member(people["south_doctor"], south, actor=SYSTEM)
    return Cast(north=north, south=south, **people)


@pytest.fixture(autouse=True)
def _nothing_is_kept() -> Iterator[None]:
    """What one test's callers were refused is not counted in the next one's audit, nor what they read shown there."""
    yield
    forget_denials()
    parts.forget()


@pytest.fixture(autouse=True)
def _audit_can_be_emptied(request: pytest.FixtureRequest) -> Iterator[None]:
    """Tests with real commits end by emptying every table, which the audit's triggers would refuse."""
    marker = request.node.get_closest_marker("django_db")
    commits = "transactional_db" in request.fixturenames or (marker is not None and marker.kwargs.get("transaction"))
    if not commits:
        yield
        return
    # First the database, so that this ends before its emptying; post_migrate then brings head and triggers back.
    request.getfixturevalue("transactional_db")
    yield
    guards.remove(connection)
