"""What every test may use: a permanent cast of people at two hospitals, and a database that real threads can share."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.db import connection

from apps.accounts.models import Hospital, Role, User
from apps.accounts.pipeline import add_member, create_hospital
from apps.audit import guards
from apps.audit.denials import forget_denials

SYSTEM = "system:test"
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
def _no_refusals_counted() -> Iterator[None]:
    """What one test's callers were refused is not counted in the next one's audit."""
    yield
    forget_denials()


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
