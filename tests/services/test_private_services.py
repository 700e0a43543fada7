"""The PostgreSQL and the Redis of the tests end with whoever asked for them, and say what they need."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.conf import settings
from harness import eventually

from tools.processes import descendants

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(not settings.REDIS_URL, reason="make test-services runs it")


@contextmanager
def start(folder: Path, *command: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "tools.services", *command],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def runs(pid: int) -> str:
    """The name of what runs as this process; nothing where it has ended."""
    try:
        _, name, state = re.split(r"[()]", Path(f"/proc/{pid}/stat").read_text(), maxsplit=2)
    except OSError:
        return ""
    return "" if state.split()[0] == "Z" else name


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder through which the account of PostgreSQL comes, with a name that leaves room for that of its socket."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o711)
        yield Path(name)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_both_end_with_whoever_started_them(open_folder: Path, end: signal.Signals):
    with start(open_folder, "sh", "-c", "echo $DATABASE_URL $REDIS_URL; exec sleep 1000") as process:
        assert process.stdout is not None
        database, queue = process.stdout.readline().split()
        assert database.startswith("postgresql://")
        assert queue.startswith("redis://127.0.0.1:")
        both = {pid: runs(pid) for pid in descendants(process.pid) if runs(pid) in {"postgres", "redis-server"}}
        assert set(both.values()) == {"postgres", "redis-server"}
        process.send_signal(end)
        process.wait(60)
        eventually(lambda: not any(runs(pid) == name for pid, name in both.items()), "both have ended")
    left = list(open_folder.iterdir())
    assert left == [] or end == signal.SIGKILL


def test_what_is_missing_is_said_with_what_to_do(open_folder: Path):
    with start(open_folder, "true", PATH="/nowhere") as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert errors == (
        "error: There is no redis-server on PATH.\nhint: on Debian: apt-get install postgresql redis-server\n"
    )
