"""Older versions as whole Keras models: written when they are asked for, checked, and not kept for ever."""

import hashlib
import os
import re
import time
from base64 import b64decode

import h5py
import on_disk
import pytest
from hub_client import HubClient, body
from hub_driver import assert_refused
from looking import BROWSER, browser, see
from proposing import proposed
from site_agent import ARCHITECTURE, SCHEMA

from apps.audit.models import AuditEntry
from apps.federation.models import ModelVersion
from apps.federation.pipeline import model_files, storage, tick
from apps.federation.pipeline.review import publish_held
from apps.federation.pipeline.step import Next, Refusal
from hospintel_core import h5

DAY = 24 * 3600


def version(number):
    return ModelVersion.objects.get(number=number)


def path(version, prefix="/api/v1"):
    return f"{prefix}/models/{version.pk}/model.h5"


def ask(person, version):
    return browser(person).get(path(version))


def written():
    """The versions whose files are there, by number."""
    folder = on_disk.file_path("x").parent
    digests = {file.stem for file in folder.glob("*.h5")}
    return sorted(ModelVersion.objects.filter(digest__in=digests).values_list("number", flat=True))


@pytest.fixture
def eight(hub, cast):
    """Eight versions; each is current until the next."""
    for number in range(7):
        hub.run(publish_held(proposed(hub, cast.north_doctor, by=0.001 * (number + 1)), actor=cast.admin.actor))
        hub.federation.refresh_from_db()
    assert written() == [8]
    return hub


def test_an_older_version_is_written_when_it_is_asked_for(eight, cast, tmp_path):
    old = version(3)
    answer = ask(cast.north_doctor, old)
    assert_refused(answer, 503, "model_not_written")
    assert answer.headers["Retry-After"] == "5"
    eight.work()
    answer = ask(cast.north_doctor, old)
    content = body(answer)
    assert answer.headers["Content-Disposition"] == 'attachment; filename="version-3.h5"'
    assert answer.headers["ETag"] == f'"{old.digest}"'
    found = re.fullmatch("sha-256=:(.*):", answer.headers["Repr-Digest"])
    assert found
    assert b64decode(found[1]) == hashlib.sha256(content).digest()
    file = tmp_path / "old.h5"
    file.write_bytes(content)
    stored = storage.read_head(old.digest, SCHEMA)
    assert all((array == stored[name]).all() for name, array in h5.read_head(file, ARCHITECTURE).items())
    with h5py.File(file) as opened:
        assert "model_config" in opened.attrs
    # What is current stays what it was, and so does its file.
    assert written() == [3, 8]
    assert eight.events(action="version.model_written")[-1]["facts"]["sha256"] == hashlib.sha256(content).hexdigest()
    assert AuditEntry.objects.filter(action="version.download", object=f"version:{old.pk}").count() == 1


def test_a_browser_is_told_to_wait_and_asks_again_by_itself(eight, cast):
    answer = browser(cast.north_doctor).get(path(version(3), ""), headers=BROWSER)
    assert (answer.status_code, answer.headers["Retry-After"], answer.headers["Refresh"]) == (503, "5", "5")
    assert "The worker is writing this version as a file." in answer.content.decode()
    eight.work()
    answer = browser(cast.north_doctor).get(path(version(3), ""), headers=BROWSER)
    assert (answer.status_code, "Refresh" in answer.headers) == (200, False)
    assert body(answer)[:4] == b"\x89HDF"


def test_a_program_gets_the_refusal_of_programs_at_either_address(eight, cast):
    for accept in ("*/*", "application/json"):
        answer = browser(cast.north_doctor).get(path(version(3), ""), headers={"Accept": accept})
        assert_refused(answer, 503, "model_not_written")


def test_the_page_of_a_version_says_how_its_file_stands(eight, cast):
    page = see(cast.north_doctor, f"/models/{version(3).pk}/")
    assert "Write and download version 3 (.h5)" in page
    assert "kept for 7 days" in page
    ask(cast.north_doctor, version(3))
    eight.work()
    sha256 = hashlib.sha256(on_disk.file_path(version(3).digest).read_bytes()).hexdigest()
    page = see(cast.north_doctor, f"/models/{version(3).pk}/")
    assert "Download version 3 (.h5)" in page
    assert f"SHA-256 {sha256}" in page
    assert "(.h5)" not in see(cast.reader, f"/models/{version(3).pk}/")


def test_a_download_of_what_was_pruned_goes_on_where_it_was_cut_off(eight, cast):
    ask(cast.admin, version(3))
    eight.work()
    whole = body(ask(cast.admin, version(3)))
    on_disk.file_path(version(3).digest).unlink()
    assert ask(cast.admin, version(3)).status_code == 503
    eight.work()
    headers = {"Range": "bytes=1000-", "If-Range": f'"{version(3).digest}"'}
    answer = browser(cast.admin).get(path(version(3)), headers=headers)
    assert (answer.status_code, body(answer)) == (206, whole[1000:])


@pytest.mark.parametrize("damage", ["a bit", "its end", "all of it"])
def test_a_damaged_file_is_never_served_and_is_written_again(eight, cast, caplog, damage):
    for number, call in ((8, "/model"), (3, path(version(3)))):
        browser(cast.admin).get(call)
        eight.work()
        file = on_disk.file_path(version(number).digest)
        whole = file.read_bytes()
        bad = {"a bit": whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:], "its end": whole[:-9], "all of it": b""}
        file.write_bytes(bad[damage])
        answer = browser(cast.admin).get(call)
        assert_refused(answer, 503, "model_not_written")
        eight.work()
        assert body(browser(cast.admin).get(call)) == whole
    assert ("is damaged and was deleted" in caplog.text) == (damage == "a bit")


def test_a_file_without_a_note_of_what_was_written_is_not_trusted(eight, cast):
    """As an older hub left it, or a worker that was killed in between."""
    current = version(8)
    whole = on_disk.file_path(current.digest).read_bytes()
    (on_disk.file_path(current.digest).with_suffix(".json")).unlink()
    on_disk.file_path(current.digest).write_bytes(b"half")
    assert_refused(browser(cast.admin).get("/model"), 503, "model_not_written")
    eight.work()
    assert body(browser(cast.admin).get("/model")) == whole


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"sha256": "0"}', b"\xff"])
def test_a_damaged_note_is_no_note(eight, cast, caplog, damage):
    on_disk.file_path(version(8).digest).with_suffix(".json").write_bytes(damage)
    assert_refused(browser(cast.admin).get("/model"), 503, "model_not_written")
    eight.work()
    assert browser(cast.admin).get("/model").status_code == 200
    assert "The note h5/" in caplog.text


def test_impatient_callers_queue_it_once(eight, cast):
    for _ in range(4):
        assert ask(cast.admin, version(3)).status_code == 503
    assert [task["name"] for task in eight.queued()] == ["write_model"]


def test_of_the_older_ones_those_asked_for_last_are_kept(eight, cast):
    for number in range(1, 8):
        ask(cast.admin, version(number))
        eight.work()
        stamp = time.time() - 1000 + number
        os.utime(on_disk.file_path(version(number).digest).with_suffix(".asked"), (stamp, stamp))
    assert written() == [3, 4, 5, 6, 7, 8]
    # Whoever asks for one keeps it.
    assert ask(cast.admin, version(3)).status_code == 200
    ask(cast.admin, version(1))
    eight.work()
    assert written() == [1, 3, 5, 6, 7, 8]


def test_nobody_fills_the_disk_or_the_queue(eight, cast):
    for number in (1, 2, 3):
        assert_refused(ask(cast.admin, version(number)), 503, "model_not_written")
    answer = ask(cast.north_doctor, version(4))
    assert_refused(answer, 503, "models_waiting")
    assert answer.headers["Retry-After"] == "5"
    assert_refused(ask(cast.admin, version(2)), 503, "model_not_written")
    assert len(eight.queued()) == 3
    # What is current is nobody's to hold up.
    on_disk.file_path(version(8).digest).unlink()
    assert_refused(browser(cast.admin).get("/model"), 503, "model_not_written")


def test_what_nobody_asks_for_any_more_goes_after_a_week(eight, cast):
    ask(cast.admin, version(3))
    eight.work()
    tick.housekeeping()
    assert written() == [3, 8]
    stamp = time.time() - model_files.KEPT_DAYS * DAY - 60
    os.utime(on_disk.file_path(version(3).digest).with_suffix(".asked"), (stamp, stamp))
    half = on_disk.file_path("x").parent / ".x.h5.abc.part"
    half.write_bytes(b"half of a file")
    os.utime(half, (stamp, stamp))
    tick.housekeeping()
    assert written() == [8]
    assert {file.stem for file in half.parent.iterdir()} == {version(8).digest}
    assert on_disk.head_path(version(3).digest).exists()


def test_a_version_that_nobody_asked_for_is_not_written(eight):
    eight.run([Next("write_model", version(3).pk)])
    assert written() == [8]


def test_a_version_that_came_back_is_current_and_its_file_stays(eight, cast):
    ask(cast.admin, version(3))
    eight.work()
    assert (
        "current again"
        in browser(cast.admin).post(f"/models/{version(3).pk}/rollback", {"reason": "x"}, follow=True).content.decode()
    )
    eight.work()
    tick.housekeeping()
    # One file by two numbers.
    assert written() == [3, 9]
    assert ask(cast.admin, version(9)).status_code == 200


def test_who_may_and_what_is_a_file(eight, cast, north):
    held = proposed(eight, cast.north_doctor)
    assert_refused(ask(cast.admin, held), 409, "version_state")
    assert_refused(ask(cast.reader, version(3)), 403, "permission_denied")
    assert_refused(HubClient().get(path(version(3))), 401, "login_required")
    assert_refused(north.client.get(path(version(3)), headers=north.headers), 403, "permission_denied")
    codes = {event["facts"]["code"] for event in eight.events(action="GET v1-version-file")}
    assert codes == {"version_state", "permission_denied", "login_required"}
    # Waiting is no refusal that anybody has to read about.
    ask(cast.admin, version(3))
    assert not eight.events(code="model_not_written")


def test_the_disk_is_full(eight, cast, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(h5, "write_model", full)
    ask(cast.admin, version(3))
    eight.work()
    assert written() == [8]
    with pytest.raises(Refusal) as caught:
        [model_files.ask(version(number).digest) for number in (1, 2, 4)]
    assert caught.value.code == "models_waiting"
