"""The doctor against hospitals that are broken in one way each: transcripts of real processes (transcripts/doctor)."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import certificates
import pytest
from agent_program import PATIENCE_SECONDS, Command
from doctor_scenes import HUB_URL, SCENES, Scene, can_mount
from hub_http import answer, busy, redirect
from transcript import play

TRANSCRIPTS = Path(__file__).parent / "transcripts" / "doctor"
READ_ONLY = {"/healthz", "/api/v1/identity", "/api/v1/federations/brain-mri/status"}
NO_ROUND = "/api/v1/rounds/00000000-0000-0000-0000-000000000000/update"


@pytest.fixture
def scene(tmp_path: Path, scans: Path, command: Command) -> Iterator[Scene]:
    with ExitStack() as closing:
        yield Scene(tmp_path, scans, command, closing, {"TMP": str(tmp_path), "HUB_URL": HUB_URL, "SCANS": str(scans)})


@pytest.mark.parametrize("name", SCENES)
def test_the_doctor_names_what_is_wrong_and_what_to_do(scene: Scene, name: str) -> None:
    if name == "full_disk" and not can_mount():
        pytest.skip("this system lets no one mount a small file system")
    SCENES[name](scene)
    play(TRANSCRIPTS / f"{name}.txt", scene.command, scene.names, lambda words: scene.later[words[0]]())


def test_every_set_up_has_its_transcript_and_no_transcript_shows_a_traceback() -> None:
    paths = sorted(TRANSCRIPTS.glob("*.txt"))
    assert [path.stem for path in paths] == sorted(SCENES)
    assert not any("Traceback" in path.read_text() for path in paths)


def _json(scene: Scene, *arguments: str, code: int = 0) -> dict[str, Any]:
    done = scene.command.run("doctor", "--home", str(scene.folder / "home"), "--json", *arguments)
    assert done.returncode == code, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_machines_get_the_same_as_json(scene: Scene) -> None:
    SCENES["corrupt_files"](scene)
    found = _json(scene)
    checks = {check["check"]: check for check in found["checks"]}
    assert found["hub"] == scene.hubs[0].url
    assert len(checks) == len(found["checks"])
    assert checks["files"]["code"] == "scans_unusable"
    codes = {"dicom_frames": 1, "image_empty": 2, "image_format": 1, "image_unreadable": 1}
    assert checks["files"]["facts"]["codes"] == codes
    assert {"name": "glioma/cut.png", "code": "image_unreadable"} in checks["files"]["facts"]["files"]
    assert checks["duplicates"]["facts"]["files"] == [["glioma/again.png", "glioma/glioma-0001.png"]]
    assert sum(checks["scans"]["facts"]["training"].values()) > 30
    for check in found["checks"]:
        assert check.keys() == {"check", "status", "code", "found", "remedy", "facts"}
        assert check["status"] in {"ok", "warning", "failed", "skipped"}
        assert bool(check["remedy"]) is (check["status"] in {"warning", "failed"}), check


def test_nothing_about_the_scans_is_sent_and_no_task_is_begun(scene: Scene) -> None:
    SCENES["healthy"](scene)
    (hub,) = scene.hubs
    hub.open_round()
    hub.seen.clear()
    _json(scene)
    assert {seen.path for seen in hub.seen} == READ_ONLY | {NO_ROUND}
    assert {(seen.method, seen.size) for seen in hub.seen} == {("GET", 0)}
    with_token = {seen.path for seen in hub.seen if "authorization" in seen.headers}
    assert with_token == {NO_ROUND}


def test_the_token_is_shown_to_no_hub_but_the_pinned_one(scene: Scene) -> None:
    SCENES["another_hub"](scene)
    (hub,) = scene.hubs
    hub.seen.clear()
    _json(scene, code=10)
    other = scene.hub()
    _json(scene, "--hub", other.url, code=10)
    assert not any("authorization" in seen.headers for seen in hub.seen + other.seen)


def test_a_stranger_who_shows_the_hub_s_public_identities_gets_no_token_either(scene: Scene) -> None:
    hub = scene.hub()
    scene.enrol(hub)
    stranger = scene.hub()
    stranger.chain = hub.chain
    hub.seen.clear()
    checks = {check["check"]: check for check in _json(scene, "--hub", stranger.url)["checks"]}
    assert checks["identity"]["status"] == "ok"
    assert (checks["token"]["status"], hub.url in checks["token"]["found"]) == ("skipped", True)
    assert not any("authorization" in seen.headers for seen in hub.seen + stranger.seen)


def test_a_proxy_that_inspects_sees_nothing_before_its_ca_is_trusted(scene: Scene) -> None:
    SCENES["intercepting_proxy"](scene)
    _json(scene, "--hub", HUB_URL, code=10)
    (proxy,) = scene.proxies
    assert proxy.asked
    assert b"".join(proxy.read) == b""


def test_the_doctor_leaves_a_home_as_it_was(scene: Scene) -> None:
    SCENES["clock_behind"](scene)
    home = scene.folder / "home"
    before = {path: path.stat().st_mtime_ns for path in home.rglob("*")}
    _json(scene, code=10)
    assert {path: path.stat().st_mtime_ns for path in home.rglob("*")} == before
    scene.command.run("doctor", "--home", str(scene.folder / "nowhere"), "--hub", scene.hubs[0].url)
    assert not (scene.folder / "nowhere").exists()


def test_the_doctor_works_beside_the_running_service(scene: Scene) -> None:
    SCENES["healthy"](scene)
    (hub,) = scene.hubs
    home = str(scene.folder / "home")
    round_ = hub.open_round()
    scene.command.start("run", "--home", home)
    hub.wait_for(lambda: round_.live)
    done = scene.command.run("doctor", "--home", home)
    assert done.returncode == 0, done.stdout
    assert "journal: 1 task" in done.stdout


def _check(scene: Scene, name: str, *arguments: str, code: int = 0) -> dict[str, Any]:
    (found,) = [check for check in _json(scene, *arguments, code=code)["checks"] if check["check"] == name]
    return dict(found)


@pytest.mark.parametrize(
    ("minutes", "status", "found"),
    [
        (20, "failed", "20 minutes behind the hub's"),
        (-20, "failed", "20 minutes ahead of the hub's"),
        (5, "warning", "5 minutes behind the hub's"),
        (-5, "warning", "5 minutes ahead of the hub's"),
        (0.5, "ok", "within a minute"),
    ],
)
def test_the_clock_is_compared_both_ways(scene: Scene, minutes: float, status: str, found: str) -> None:
    hub = scene.hub()
    scene.enrol(hub)
    now = hub.now_ms
    hub.now_ms = lambda: now() + round(minutes * 60_000)
    check = _check(scene, "clock", code=10 if status == "failed" else 0)
    assert check["status"] == status
    assert found in check["found"]
    assert abs(check["facts"]["seconds"] + minutes * 60) <= 2


@pytest.mark.parametrize(
    ("days", "status", "code", "word"),
    [
        ((-9, -1), "failed", "tls_untrusted", "expired"),
        ((1, 9), "failed", "tls_untrusted", "not yet valid"),
        ((-9, 5), "warning", "certificate_expires", "soon"),
        ((-9, 60), "ok", "", "trusted by"),
    ],
)
def test_a_certificate_out_of_its_time_is_told_with_its_time(
    scene: Scene, days: tuple[int, int], status: str, code: str, word: str
) -> None:
    pems = certificates.make(scene.folder, hub_days=days)
    hub = scene.hub(tls=(pems.certificate, pems.key))
    arguments = ["--hub", hub.url, "--ca", str(pems.ca)]
    check = _check(scene, "certificate", *arguments, code=10 if status == "failed" else 0)
    assert (check["status"], check["code"]) == (status, code)
    assert word in check["found"]
    assert ("date and time" in check["remedy"]) is (status == "failed")


def test_the_hub_s_own_test_certificate_is_known_and_asks_for_its_ca(scene: Scene) -> None:
    pems = certificates.make(scene.folder, ca="Hospintel test authority")
    hub = scene.hub(tls=(pems.certificate, pems.key))
    check = _check(scene, "certificate", "--hub", hub.url, code=10)
    assert "the hub has a test certificate" in check["found"]
    assert "get ca.pem from the hub's administrator" in check["remedy"]


def test_a_hub_with_a_new_identity_that_the_pinned_one_signed_is_fine(scene: Scene) -> None:
    hub = scene.hub()
    scene.enrol(hub)
    hub.rotate_identity()
    checks = {check["check"]: check for check in _json(scene)["checks"]}
    assert "signed by the pinned one" in checks["identity"]["found"]
    assert checks["token"]["status"] == "ok"


def test_a_hub_that_is_busy_is_a_hub(scene: Scene) -> None:
    hub = scene.hub()
    scene.enrol(hub)
    hub.inject("GET", "/healthz", busy(503))
    check = _check(scene, "hub", code=10)
    assert (check["status"], check["code"]) == ("failed", "hub_busy")
    assert "not a Hospintel hub" not in check["found"]
    assert check["remedy"]


def test_a_login_page_that_redirects_is_named(scene: Scene) -> None:
    hub = scene.hub()
    scene.enrol(hub)
    hub.inject("GET", "/healthz", redirect("https://login.example.org/"))
    check = _check(scene, "hub", code=10)
    assert check["code"] == "redirect_refused"
    assert "login.example.org" in check["found"]


def test_a_program_that_says_ok_but_is_no_hub_is_told(scene: Scene) -> None:
    hub = scene.hub()
    hub.inject("GET", "/identity", answer(404, b"not found"))
    check = _check(scene, "identity", "--hub", hub.url, code=10)
    assert (check["status"], check["code"]) == ("failed", "not_a_hub")


def test_a_model_that_this_version_does_not_know_is_told(scene: Scene) -> None:
    hub = scene.hub()
    scene.enrol(hub)
    hub.inject("GET", "/status", answer(200, {"model": hub.current, "architecture": "vgg99-head1"}))
    check = _check(scene, "federation", code=10)
    assert check["code"] == "unknown_architecture"
    assert "update the agent" in check["remedy"]


@pytest.mark.parametrize("url", ["http://hub.example.org", "hub.example.org", "https://hub.invalid"])
def test_an_address_that_leads_nowhere_is_told(scene: Scene, url: str) -> None:
    checks = _json(scene, "--hub", url, code=10)["checks"]
    failed = [check for check in checks if check["status"] == "failed"]
    assert len(failed) == 1
    assert failed[0]["check"] in {"path", "hub"}
    assert failed[0]["remedy"]


def test_a_broken_journal_is_told_and_the_rest_still_looked_at(scene: Scene) -> None:
    home = scene.enrol(scene.hub())
    home.journal.write_bytes(b"not a database, but long enough to be looked at" * 50)
    checks = {check["check"]: check for check in _json(scene, code=10)["checks"]}
    assert checks["journal"]["code"] == "journal_broken"
    assert checks["token"]["status"] == "ok"


def test_a_refused_round_is_remembered(scene: Scene) -> None:
    hub = scene.hub()
    home = scene.enrol(hub)
    hub.open_round(4)
    hub.verdicts.append("norm_range")
    scene.command.run("once", "--home", str(home.folder))
    check = _check(scene, "journal")
    assert (check["status"], check["code"], check["facts"]) == ("warning", "norm_range", {"tasks": 1})
    assert "round 4" in check["found"]


def test_a_signal_ends_it(scene: Scene) -> None:
    SCENES["healthy"](scene)
    (hub,) = scene.hubs
    held = hub.hold("GET", "/healthz")
    process = scene.command.start("doctor", "--home", str(scene.folder / "home"))
    assert held.arrived.wait(PATIENCE_SECONDS)
    process.terminate()
    _, err = process.communicate(timeout=120)
    held.go.set()
    assert (process.returncode, err) == (130, "")
