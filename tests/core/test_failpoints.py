"""Failpoints: each name once in the code, nothing without the switch, and each fires once."""

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from hospintel_core import failpoints
from hospintel_core.failpoints import FOLDER, POINTS, SWITCH, VARIABLE, ArmedError, FailpointError, arm, reach
from hospintel_site import checks, env

ROOT = Path(__file__).resolve().parents[2]
A, B = "audit.appended", "audit.committed"


@pytest.fixture(autouse=True)
def _nothing_stays_armed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failpoints, "_armed", None)


def environment(folder: Path, spec: str = "") -> dict[str, str]:
    return {SWITCH: "1", FOLDER: str(folder), VARIABLE: spec}


def test_each_name_stands_exactly_once_in_the_code() -> None:
    folders = ("apps", "client_agent", "hospintel_core", "hospintel_site")
    texts = [path.read_text() for folder in folders for path in (ROOT / folder).rglob("*.py")]
    called = Counter(name for text in texts for name in re.findall(r"\breach\(\"([^\"]*)\"\)", text))
    assert called == Counter(dict.fromkeys(POINTS, 1))


def test_what_is_not_armed_does_nothing(tmp_path: Path) -> None:
    assert not arm({})
    reach(A)
    assert arm(environment(tmp_path, f"{A}:error"))
    reach(B)


@pytest.mark.parametrize("change", [{SWITCH: ""}, {SWITCH: "0"}, {SWITCH: "yes"}])
@pytest.mark.parametrize("spec", ["", f"{A}:kill"])
def test_it_is_refused_without_the_switch(tmp_path: Path, change: dict[str, str], spec: str) -> None:
    with pytest.raises(ArmedError) as caught:
        arm(environment(tmp_path, spec) | change)
    assert caught.value.code == "failpoint_refused"
    reach(A)


def test_it_is_refused_where_others_reach_the_process(tmp_path: Path) -> None:
    with pytest.raises(ArmedError) as caught:
        arm(environment(tmp_path, f"{A}:kill"), loopback=False)
    assert caught.value.code == "failpoint_refused"


@pytest.mark.parametrize("spec", ["nowhere:kill", f"{A}:explode", f"{A}", f"{A}:kill:often"])
def test_a_text_that_says_nothing_is_refused(tmp_path: Path, spec: str) -> None:
    with pytest.raises(ArmedError) as caught:
        arm(environment(tmp_path, spec))
    assert caught.value.code == "failpoint_unknown"


def test_markers_need_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ArmedError) as caught:
        arm(environment(tmp_path / "none", f"{A}:kill"))
    assert caught.value.code == "failpoint_unknown"


def test_an_error_comes_once_after_those_who_may_pass(tmp_path: Path) -> None:
    arm(environment(tmp_path, f"{A}:error:2"))
    for _ in range(2):
        reach(A)
    with pytest.raises(FailpointError):
        reach(A)
    for _ in range(3):
        reach(A)


def run(folder: Path, spec: str = "") -> "subprocess.Popen[bytes]":
    code = f"import os; from hospintel_core.failpoints import *; arm(os.environ); reach({A!r})"
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env={**os.environ, **environment(folder, spec)})


def test_a_process_that_was_killed_passes_when_it_is_started_again(tmp_path: Path) -> None:
    assert run(tmp_path, f"{A}:kill").wait(60) == -signal.SIGKILL
    assert run(tmp_path, f"{A}:kill").wait(60) == 0


def test_a_point_can_be_armed_later_and_its_process_let_go(tmp_path: Path) -> None:
    (tmp_path / A).write_text("sleep")
    process = run(tmp_path)
    note = tmp_path / f"{A}.pid"
    end = time.monotonic() + 60
    while not note.exists():
        assert time.monotonic() < end
        time.sleep(0.02)
    assert int(note.read_text()) == process.pid
    assert process.poll() is None
    (tmp_path / f"{A}.free").touch()
    assert process.wait(60) == 0


def test_the_hub_refuses_to_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    monkeypatch.setenv(VARIABLE, f"{A}:kill")
    monkeypatch.setenv(FOLDER, str(tmp_path))
    with pytest.raises(ImproperlyConfigured, match="Unset them"):
        env.failpoints("127.0.0.1")
    monkeypatch.setenv(SWITCH, "1")
    with pytest.raises(ImproperlyConfigured, match="Unset them"):
        env.failpoints("0.0.0.0")
    assert env.failpoints("localhost")
    settings.FAILPOINTS, settings.BIND, settings.ALLOWED_HOSTS = True, "192.0.2.1", ["192.0.2.1"]
    assert "hospintel.E017" in {message.id for message in checks.all_checks()}
    settings.BIND = "127.0.0.1"
    assert "hospintel.E017" not in {message.id for message in checks.all_checks()}
