"""The PostgreSQL and the Redis of the tests end with whoever asked for them, and say what they need."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from harness import eventually, still_running

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(not settings.REDIS_URL, reason="make test-services runs it")


def start(folder: Path, *command: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tools.services", *command],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def open_folder(tmp_path: Path) -> Path:
    """A folder through which the account of PostgreSQL comes."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)
    return tmp_path


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_both_end_with_whoever_started_them(open_folder: Path, end: signal.Signals):
    with start(open_folder, "sh", "-c", "echo $DATABASE_URL $REDIS_URL; sleep 1000") as process:
        assert process.stdout is not None
        database, queue = process.stdout.readline().split()
        assert database.startswith("postgresql://")
        assert queue.startswith("redis://127.0.0.1:")
        servers = [line for line in still_running(open_folder) if "postgres" in line or "redis-server" in line]
        assert len(servers) >= 2
        process.send_signal(end)
        process.wait(60)
        eventually(
            lambda: not any("postgres" in line or "redis-server" in line for line in still_running(open_folder)),
            "both have ended",
        )
    left = list(open_folder.iterdir())
    assert left == [] or end == signal.SIGKILL


def test_what_is_missing_is_said_with_what_to_do(open_folder: Path):
    with start(open_folder, "true", PATH="/nowhere") as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert errors == (
        "error: There is no redis-server on PATH.\nhint: on Debian: apt-get install postgresql redis-server\n"
    )
