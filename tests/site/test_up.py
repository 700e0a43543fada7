"""`manage.py up` as an operator sees it: one command starts everything, one signal stops everything."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from hospintel_core import signing
from hospintel_site.certificates import make_test_certificate
from hospintel_site.ports import any_free

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("hospintel_site.server", "manage.py tick", "hospintel_site.worker default", "hospintel_site.worker training")


class Up:
    """A running `up`, and what it has printed so far."""

    def __init__(self, var: Path, *arguments: str) -> None:
        self.lines: list[str] = []
        self.popen = subprocess.Popen(
            [sys.executable, "manage.py", "up", *arguments],
            cwd=ROOT,
            env={**os.environ, "HOSPINTEL_VAR": str(var)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            self.lines.append(line.rstrip())
        self.popen.stdout.close()

    def wait_for(self, text: str, seconds: float = 200) -> str:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for line in list(self.lines):
                if text in line:
                    return line
            assert self.popen.poll() is None or not self._reader.is_alive(), "\n".join(self.lines)
            time.sleep(0.05)
        raise AssertionError(f"{text!r} was not printed:\n" + "\n".join(self.lines))

    def wait(self, seconds: float = 200) -> int:
        code = self.popen.wait(timeout=seconds)
        self._reader.join(timeout=120)
        return code


def family(supervisor: int) -> dict[int, str]:
    """The processes that belong to a supervisor, by its mark in their environment."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"HOSPINTEL_SUPERVISOR={supervisor}".encode() in (process / "environ").read_bytes().split(b"\0"):
                found[int(process.name)] = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        except OSError:
            continue
    return found


def gone(supervisor: int, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while family(supervisor) and time.monotonic() < end:
        time.sleep(0.1)
    return not family(supervisor)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Up, Path, int]]:
    var, port = tmp_path_factory.mktemp("hub"), any_free("127.0.0.1")
    # As somebody may have made it before the first start.
    var.chmod(0o755)
    up = Up(var, "--port", str(port))
    try:
        up.wait_for("ready http")
        yield up, var, port
    finally:
        up.popen.send_signal(signal.SIGTERM)
        up.wait()


def test_it_says_ready_when_it_answers(hub: tuple[Up, Path, int]):
    up, var, port = hub
    assert up.wait_for("ready") == f"ready http://127.0.0.1:{port}/"
    fingerprint = up.wait_for("The hub's fingerprint: ").partition(": ")[2]
    chain = httpx.get(f"http://127.0.0.1:{port}/api/v1/identity").json()["chain"]
    newest = Ed25519PublicKey.from_public_bytes(b64decode(chain[0]["public_key"]))
    assert fingerprint == signing.fingerprint(newest)
    answer = httpx.get(f"http://127.0.0.1:{port}/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert (var / "keys").stat().st_mode & 0o777 == 0o700
    for secret in (var / "keys").iterdir():
        assert secret.is_dir() or secret.stat().st_mode & 0o777 == 0o600
    assert (var / "hospintel.sqlite3").stat().st_mode & 0o777 == 0o600


def test_it_runs_four_processes_without_tensorflow_in_web_and_default(hub: tuple[Up, Path, int]):
    running = family(hub[0].popen.pid)
    for name in NAMES:
        assert any(name in command for command in running.values()), name
    for pid, command in running.items():
        assert "Umask:\t0077" in Path(f"/proc/{pid}/status").read_text(), command
        if "training" not in command:
            assert "tensorflow" not in Path(f"/proc/{pid}/maps").read_text()


def test_the_first_administrator_gets_a_link(hub: tuple[Up, Path, int]):
    link = hub[0].wait_for("/first-admin/").strip()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/first-admin/#[\w-]{43}", link)
    page, _, token = link.partition("#")
    with httpx.Client() as client:
        asked = client.get(page)
        assert (asked.status_code, "Choose a name and a password" in asked.text) == (200, False)
        form = {"csrfmiddlewaretoken": re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', asked.text)[0]}
        assert "Choose a name and a password" in client.post(page, data=form | {"token": token}).text
        assert "This link is used" in client.post(page, data=form | {"token": token[:-1]}).text


def test_a_process_that_dies_is_started_again(hub: tuple[Up, Path, int]):
    up, _, port = hub
    web = next(pid for pid, command in family(up.popen.pid).items() if "hospintel_site.server" in command)
    os.kill(web, signal.SIGKILL)
    up.wait_for("web ended (SIGKILL); starting it again in 1 s.")
    end = time.monotonic() + 100
    while time.monotonic() < end:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200:
                break
        except httpx.HTTPError:
            time.sleep(0.2)
    else:
        raise AssertionError("the web server did not come back")


def test_a_busy_port_is_named_with_its_holder(hub: tuple[Up, Path, int], tmp_path: Path):
    up, _, port = hub
    web = next(pid for pid, command in family(up.popen.pid).items() if "hospintel_site.server" in command)
    second = Up(tmp_path, "--port", str(port))
    assert second.wait() == 3
    line = second.wait_for("error: ")
    assert f"Port {port} is in use by process {web} (" in line
    assert "hospintel_site.server" in line
    second.wait_for("hint: Stop it, or choose another port with --port.")


def test_one_folder_has_one_hub(hub: tuple[Up, Path, int]):
    up, var, _ = hub
    second = Up(var, "--port", "0")
    assert second.wait() == 4
    second.wait_for(f"Process {up.popen.pid} already runs a hub on {var}")


def test_ctrl_c_stops_all_of_it_within_seconds_and_leaves_no_process(hub: tuple[Up, Path, int]):
    up = hub[0]
    assert len(family(up.popen.pid)) >= len(NAMES)
    started = time.monotonic()
    up.popen.send_signal(signal.SIGINT)
    assert up.wait() == 0
    assert time.monotonic() - started < 15
    assert family(up.popen.pid) == {}
    assert up.lines[-1] == "Stopped."
    assert "Traceback" not in "\n".join(up.lines)
    assert not (hub[1] / "up.json").exists()


def shell(var: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """What an operator types in another shell, where nothing but the folder is set."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HOSPINTEL_TLS")}
    command = [sys.executable, "manage.py", *words]
    environment = kept | {"HOSPINTEL_VAR": str(var)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)


def test_a_command_in_another_shell_knows_at_which_address_the_hub_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    files, port = make_test_certificate(tmp_path / "tls", ["hub.example"]), any_free("127.0.0.1")
    monkeypatch.setenv("HOSPINTEL_TLS_CERT", str(files.cert))
    monkeypatch.setenv("HOSPINTEL_TLS_KEY", str(files.key))
    var = tmp_path / "var"
    with monkeypatch.context() as named:
        named.setenv("HOSPINTEL_ALLOWED_HOSTS", "localhost,127.0.0.1,hub.example")
        up = Up(var, "--port", str(port))
    try:
        up.wait_for(f"ready https://127.0.0.1:{port}/")
        shell(var, "create_hospital", "North Clinic")
        said = shell(var, "issue_code", "North Clinic").stderr
        assert f"  hospintel-agent enrol --hub https://hub.example:{port} --hub-fingerprint " in said
        assert " --code - --ca ca.pem\n" in said
        assert f"the hospital needs {files.ca} too." in said
        assert "from this machine alone" not in said
    finally:
        up.popen.kill()
        up.wait()
    # What a killed hub left behind is not believed.
    assert (var / "up.json").exists()
    said = shell(var, "issue_code", "North Clinic").stderr
    assert " --hub http://localhost:8000 " in said
    assert "This address leads here from this machine alone. For another one give --address." in said


def test_a_killed_supervisor_takes_its_processes_with_it(hub: tuple[Up, Path, int]):
    _, var, _ = hub  # the folder has been left by then, with its database made
    up = Up(var, "--port", "0")
    up.wait_for("ready")
    up.popen.kill()
    up.popen.wait()
    assert gone(up.popen.pid, 100), family(up.popen.pid)
    up.wait()


def test_a_bad_setting_stops_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOSPINTEL_DEBUG", "1")
    up = Up(tmp_path, "--bind", "0.0.0.0", "--port", "0")
    assert up.wait() == 1
    up.wait_for("hospintel.E001")


def test_an_address_that_is_not_ours_is_refused(tmp_path: Path):
    up = Up(tmp_path, "--bind", "192.0.2.1", "--port", "8000")
    assert up.wait() == 1
    up.wait_for("Cannot listen on 192.0.2.1")
