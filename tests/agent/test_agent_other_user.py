"""The agent as a user who may not read everything: said in a sentence, whatever it is that he may not read."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from agent_program import Command
from hub_double import HubDouble

from client_agent.config import Home

NOBODY = 65534
pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="only root can give files to another user"
)


@pytest.fixture
def data(tmp_path: Path, scans: Path) -> Path:
    """Scans of which a test gives some to another user."""
    return Path(shutil.copytree(scans, tmp_path / "data"))


def give_away(path: Path) -> None:
    """Make it another user's alone."""
    path.chmod(0o700 if path.is_dir() else 0o600)
    os.chown(path, NOBODY, NOBODY)


def run(command: Command, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it without the right to read what is another user's, which root has else."""
    command.program = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", sys.executable, "-m"]
    return command.run(*arguments)


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("name", ["doctor", "status", "run", "report"])
def test_a_home_of_somebody_else_is_told_by_every_command(
    command: Command, home: Home, name: str, *, inside: bool
) -> None:
    give_away(home.folder)
    folder = home.folder
    if inside:
        # Not even its owner can be seen.
        folder = home.folder / "agent"
        folder.mkdir()
    done = run(command, name, "--home", str(folder))
    assert done.returncode == (10 if name == "doctor" else 3), done.stderr
    assert "(home_exposed)" in done.stdout + done.stderr
    assert "run th" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_of_scans_that_may_not_be_read_is_told_by_the_doctor_and_at_enrolment(
    command: Command, hub: HubDouble, data: Path
) -> None:
    inside = data / "glioma"
    give_away(data)
    home = ["--home", str(command.folder / "home")]
    for place, code in ((data, "dataset_unreadable"), (inside, "dataset_unreadable")):
        done = run(command, "doctor", *home, "--hub", hub.url, "--data", str(place))
        assert f"failed   scans: '{place.name}' cannot be read by this user. ({code})" in done.stdout, done.stderr
        assert "do: The user who runs this must be allowed to read the scans" in done.stdout
    done = run(command, "enrol", *home, "--hub", hub.url, "--code", "one-time-code", "--data", str(inside))
    assert done.returncode == 6
    assert "cannot be read: Permission denied (data_missing)" in done.stderr
    assert hub.codes == {"one-time-code"}


def test_a_class_folder_that_may_not_be_read_is_not_left_out_in_silence(
    command: Command, home: Home, data: Path
) -> None:
    give_away(data / "glioma")
    for name in ("doctor", "run"):
        done = run(command, name, "--home", str(home.folder), "--data", str(data))
        assert "'glioma' cannot be read by this user. (dataset_unreadable)" in done.stdout + done.stderr


def test_a_zip_file_that_may_not_be_read_is_told(command: Command, home: Home, data: Path) -> None:
    place = Path(shutil.make_archive(str(data), "zip", data))
    give_away(place)
    done = run(command, "doctor", "--home", str(home.folder), "--data", str(place))
    assert "failed   scans: 'data.zip' cannot be read by this user. (dataset_unreadable)" in done.stdout


def test_files_that_may_not_be_read_are_named(command: Command, home: Home, data: Path) -> None:
    path = min((data / "glioma").iterdir())
    give_away(path)
    done = run(command, "doctor", "--home", str(home.folder), "--data", str(data))
    assert f"warning  files: 1 file cannot be used: glioma/{path.name} (scan_unreadable)" in done.stdout, done.stderr


def test_a_user_whose_own_folder_is_closed_to_the_service_gets_the_base_from_the_package(
    command: Command, tmp_path: Path
) -> None:
    """As with ProtectHome in a systemd unit: asking for Keras' cache fails, and is no failure."""
    hub = HubDouble(architecture="vgg16-head256")
    hub.start()
    (tmp_path / "user").mkdir()
    give_away(tmp_path / "user")
    command.env["HOME"] = str(tmp_path / "user")
    done = run(command, "doctor", "--home", str(tmp_path / "home"), "--hub", hub.url)
    hub.stop()
    assert "ok       base weights: the published ones, from the installed package" in done.stdout, done.stderr


def test_folders_that_systems_put_onto_disks_are_no_classes(command: Command, home: Home, data: Path) -> None:
    for name in ("lost+found", "System Volume Information", "$RECYCLE.BIN"):
        (data / name).mkdir()
        give_away(data / name)
    done = run(command, "doctor", "--home", str(home.folder), "--data", str(data))
    assert "ok       scans: 48 usable" in done.stdout, done.stdout
