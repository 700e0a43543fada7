"""The doctor against hospitals that are broken in one way each: transcripts of real processes (transcripts/doctor)."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from conftest import Command
from doctor_scenes import HUB_URL, SCENES, Scene, can_mount
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
    assert checks["files"]["facts"]["codes"] == {"image_empty": 2, "image_format": 1, "image_unreadable": 1}
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
