"""Many processes, one chain."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth.models import Group

from apps.audit.api import verify
from apps.audit.models import AuditEntry

ROOT = Path(__file__).resolve().parents[2]
PROCESSES, EACH = 8, 50


@pytest.fixture
def same_database(transactional_db: None, tmp_path: Path) -> dict[str, str]:
    """An environment in which `hospintel.sqlite3` of a process is this test's database."""
    (tmp_path / "hospintel.sqlite3").symlink_to(settings.DATABASES["default"]["NAME"])
    return {**os.environ, "HOSPINTEL_VAR": str(tmp_path), "PYTHONPATH": str(ROOT)}


def start(environment: dict[str, str], count: int, name: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("append_many.py")), str(count), name],
        env=environment,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_eight_processes_make_one_chain_without_fork_or_gap(same_database: dict[str, str]):
    processes = [start(same_database, EACH, f"p{number}") for number in range(PROCESSES)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        _, errors = process.communicate(timeout=50)
        assert process.returncode == 0, errors
    entries = list(AuditEntry.objects.all())
    expected = PROCESSES * (EACH + EACH // 10)
    assert [entry.seq for entry in entries] == list(range(1, expected + 1))
    assert len({entry.prev_hash for entry in entries}) == expected
    assert verify().checked == expected
    assert verify().ok
    assert Group.objects.count() == PROCESSES * EACH
    times = [json.loads(bytes(entry.body))["ts_us"] for entry in entries]
    assert times == sorted(times)


def test_a_killed_process_leaves_a_chain_that_holds(same_database: dict[str, str]):
    process = start(same_database, 100_000, "victim")
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    end = time.monotonic() + 30
    while AuditEntry.objects.count() < 20 and time.monotonic() < end:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert verify().ok
    created = AuditEntry.objects.filter(action="group.create").count()
    assert created == Group.objects.count() >= 18
