"""The doctor's day by a script that knows nothing but HTTP, at a hub with its workers and three hospitals' agents."""

import ast
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import office
import pytest
from authenticator import code_of
from drawn import draw_scans
from harness import Federation, Hub

SCRIPT = Path(__file__).with_name("day_by_api.py")
PASSWORD = "correct horse battery"
PER_CLASS, CLASSES = 10, 4


@pytest.fixture
def federation(tmp_path: Path, scans: list[Path]) -> Iterator[Federation]:
    """The federation that calls without a name mean, with three hospitals; a round needs all of them."""
    hub = Hub(tmp_path, HOSPINTEL_REQUIRE_ADMIN_OTP="1")
    try:
        federation = Federation(hub, "brain-mri", scans)
        hub.ask(office.set_least_updates, federation.slug, len(scans))
        federation.until_online()
        yield federation
        federation.close()
    finally:
        hub.close()


def test_the_script_knows_nothing_but_requests() -> None:
    tree = ast.parse(SCRIPT.read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} - sys.stdlib_module_names == {"requests"}


def test_a_day_by_calls_alone(federation: Federation, tmp_path: Path) -> None:
    hub, slow = federation.hub, federation.hospitals[-1]
    doctor = hub.ask(office.create_doctor_of, "dora", PASSWORD, federation.hospitals[0])
    admin, secret = hub.ask(office.create_admin, "alice", PASSWORD)
    draw_scans(tmp_path / "scans", PER_CLASS, seed=23)
    # One hospital answers late: the round is open when the administrator publishes.
    federation.signal(slow, signal.SIGSTOP)
    asked = [hub.processes.address, str(tmp_path / "scans"), "--doctor", doctor, PASSWORD]
    asked += ["--admin", admin, PASSWORD, code_of(secret)]
    told: list[dict[str, Any]] = []
    with subprocess.Popen([sys.executable, str(SCRIPT), *asked], stdout=subprocess.PIPE, text=True) as script:
        assert script.stdout is not None
        for line in script.stdout:
            told.append(json.loads(line))
            if told[-1]["step"] == "publish":
                federation.signal(slow, signal.SIGCONT)
    assert script.returncode == 0, hub.logs()
    _as_described(told, federation)


def _as_described(told: list[dict[str, Any]], federation: Federation) -> None:
    by_step = {line["step"]: line for line in told}
    assert (by_step["lease"]["mine"], by_step["lease"]["holder"]) == (True, "dora")
    assert [line["taken"] for line in told if line["step"] == "scans"] == [PER_CLASS] * CLASSES
    assert by_step["all scans"]["count"] == PER_CLASS * CLASSES
    job = by_step["job"]
    assert (job["state"], [one["epoch"] for one in job["progress"]["epochs"]]) == ("PROPOSED", [1, 2, 3])
    assert (job["code"], job["not_proposed"]) == ("", "")
    assert [row["name"] for row in job["figures"]] == ["all", "glioma", "meningioma", "notumor", "pituitary"]
    assert (by_step["compare"]["state"], by_step["compare"]["author"]) == ("HELD", "dora")
    assert by_step["compare"]["note"] == "scans of our new scanner"
    assert by_step["compare"]["measured"][0]["lines"][0]["after"]["right"] > 0
    assert (by_step["publish"]["number"], by_step["publish"]["state"]) == (2, "PUBLISHED")
    first, second = (line for line in told if line["step"] == "trained")
    # The round that was open has ended as superseded, and another one started from what was published.
    assert len(first["superseded"]) == 1
    assert len(first["rounds"]) == 1
    assert first["child"] == 3
    assert by_step["rollback"]["number"] > 3
    assert second["child"] == by_step["rollback"]["number"] + 1
    assert by_step["nobody has the lease"] == {"step": "nobody has the lease", "logged_in": False, "user": None}
    for hospital in federation.hospitals:
        models = [row["model"] for row in federation.journal(hospital) if row["state"] == "ACCEPTED"]
        assert models.index(by_step["publish"]["digest"]) < len(models) - 1
        assert by_step["rollback"]["digest"] in models
    assert federation.hub.ask(office.audit_holds)
