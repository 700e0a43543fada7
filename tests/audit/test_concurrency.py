"""Many processes, one chain."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth.models import Group
from django.db import connection

from apps.audit.api import verify
from apps.audit.models import AuditEntry
from tools.services import named

ROOT = Path(__file__).resolve().parents[2]
PROCESSES, THREADS, EACH = 4, 8, 200
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def same_database(transactional_db: None, tmp_path: Path) -> dict[str, str]:
    """An environment in which the database of a process is this test's database."""
    environment = {**os.environ, "HOSPINTEL_VAR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    name = connection.settings_dict["NAME"]
    if connection.vendor == "sqlite":
        (tmp_path / "hospintel.sqlite3").symlink_to(name)
    else:
        environment["DATABASE_URL"] = named(settings.DATABASE_URL, name)
    return environment


@pytest.fixture
def start(same_database: dict[str, str]) -> Iterator[Start]:
    with ExitStack() as stack:

        def begin(count: int, name: str, threads: int = 1) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("append_many.py")), str(count), name, str(threads)],
                env=same_database,
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield begin


def test_thirty_two_writers_make_one_chain_without_fork_or_gap(start: Start):
    processes = [start(EACH, f"p{number}", THREADS) for number in range(PROCESSES)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors
    entries = list(AuditEntry.objects.all())
    expected = PROCESSES * THREADS * (EACH + EACH // 10)
    assert [entry.seq for entry in entries] == list(range(1, expected + 1))
    assert len({entry.prev_hash for entry in entries}) == expected
    assert verify().checked == expected
    assert verify().ok
    assert Group.objects.count() == PROCESSES * THREADS * EACH
    times = [json.loads(bytes(entry.body))["ts_us"] for entry in entries]
    assert times == sorted(times)


def test_a_killed_process_leaves_a_chain_that_holds(start: Start):
    process = start(100_000, "victim")
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    end = time.monotonic() + 120
    while AuditEntry.objects.count() < 20 and time.monotonic() < end:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert verify().ok
    created = AuditEntry.objects.filter(action="group.create").count()
    assert created == Group.objects.count() >= 18
