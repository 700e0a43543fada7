"""A full disk at every write: a real, small file system, a clear error, and no harm to what was there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from doctor_scenes import can_mount

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent


needs_mount = pytest.mark.skipif(not can_mount(), reason="this system lets no one mount a small file system")


def _on_a_small_disk(tmp_path: Path, scenario: str) -> subprocess.CompletedProcess[str]:
    """Run a scenario of full_disk.py in a namespace of its own, where `disk` is a file system of 3 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    script = 'mount -t tmpfs -o size=3m none "$0" && exec "$@"'
    arguments = [sys.executable, str(HERE / "full_disk.py"), scenario, str(disk), str(tmp_path)]
    return subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, str(disk), *arguments],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{HERE}", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


@needs_mount
@pytest.mark.parametrize("scenario", ["model", "delta", "sealed", "journal", "enrol"])
def test_a_full_disk_is_told_and_the_round_goes_on_once_there_is_room(tmp_path: Path, scenario: str) -> None:
    done = _on_a_small_disk(tmp_path, scenario)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "accepted"


@needs_mount
def test_a_disk_that_is_nearly_full_is_left_to_the_round_and_not_to_the_cache(tmp_path: Path) -> None:
    done = _on_a_small_disk(tmp_path, "features")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "features are not cached any more" in done.stderr
    assert done.stdout.splitlines()[-1] == "accepted"


def test_a_quota_is_told_like_a_full_disk(tmp_path: Path) -> None:
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from client_agent.config import write_private\n"
        "from client_agent.errors import StorageError, storing\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n"
        "    with storing('the model'):\n"
        "        write_private(Path(sys.argv[1]), bytes(5000))\n"
        "except StorageError as error:\n"
        "    print(error.code, list(Path(sys.argv[1]).parent.iterdir()))\n"
    )
    (tmp_path / "home").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "home" / "model")],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "disk_full []\n", done.stderr
