"""A model that was trained elsewhere: handed in under the lease, read apart, proposed or refused, once."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from django.conf import settings
from django.db import connections
from hub_client import HubClient

from apps.accounts.models import Role, User
from apps.federation.models import ModelVersion
from apps.federation.pipeline import attempts, inspect, storage
from apps.federation.pipeline.step import Refusal
from apps.finetune import tasks
from apps.finetune.models import ModelUpload
from apps.finetune.pipeline import lease, upload_model
from hospintel_core import apart, architectures, h5, weights

PIXELS = architectures.get("pixels-head16")
OUTPUT = "model_weights/head_output/hospintel/head_output/bias"


@pytest.fixture
def doctor(cast: Any) -> User:
    return cast.north_doctor


def current_head(hub: Any) -> weights.Arrays:
    hub.federation.refresh_from_db()
    return storage.read_head(hub.federation.current.digest, PIXELS.head_schema)


def trained(hub: Any, by: float = 0.25) -> weights.Arrays:
    """The current head, moved a little."""
    return {name: array + np.float32(by) for name, array in current_head(hub).items()}


def file_of(tmp_path: Path, head: weights.Arrays) -> bytes:
    path = tmp_path / "model.h5"
    h5.write_model(path, PIXELS, [], head)
    return path.read_bytes()


def client_of(user: User) -> HubClient:
    client = HubClient()
    client.force_login(user)
    return client


def quarantined() -> list[Path]:
    return list((settings.UPLOAD_DIR / "models").glob("*"))


def work(hub: Any) -> int:
    """Do what a worker would. Returns how many tasks there were."""
    waiting = hub.queued()
    for kwargs in waiting:
        tasks.read_model(**kwargs)
    return len(waiting)


def refused(hub: Any, doctor: User, data: bytes) -> str:
    """Hand in a file that is refused when it is read; with which code?"""
    lease.take(doctor)
    upload = upload_model.receive(doctor, [data])
    upload_model.read(upload.pk)
    upload.refresh_from_db()
    assert upload.state == "REFUSED"
    assert upload.detail
    assert quarantined() == []
    assert hub.event(action="model_upload.refused")["facts"]["code"] == upload.code
    assert not ModelVersion.objects.filter(source="UPLOAD").exists()
    return upload.code


@pytest.mark.parametrize("address", ["/upload_model", "/api/v1/upload_model"])
def test_a_trained_model_is_proposed_with_exactly_its_head(hub: Any, doctor: User, tmp_path: Path, address: str):
    lease.take(doctor)
    head, client, version = trained(hub), client_of(doctor), hub.federation.current
    answer = client.post_file(address, file_of(tmp_path, head))
    assert (answer.status_code, answer.json()["uploaded_by"]) == (200, "north_doctor")
    place = f"/api/v1/uploads/{answer.json()['id']}"
    assert client.get(place).json()["state"] == "RECEIVED"
    (kept,) = quarantined()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert "update.hspu" not in kept.name
    assert work(hub) == 1

    told = client.get(place).json()
    proposed = ModelVersion.objects.get(pk=told["version"])
    assert (told["state"], told["code"], told["version_state"]) == ("PROPOSED", "", "HELD")
    assert (proposed.author, proposed.parent, proposed.source) == (doctor, version, "UPLOAD")
    found = storage.read_head(proposed.digest, PIXELS.head_schema)
    assert {name: array.tobytes() for name, array in found.items()} == {
        name: array.tobytes() for name, array in head.items()
    }
    assert quarantined() == []
    entry = hub.event(action="model_upload.proposed")
    assert entry["facts"]["isolated"] is told["isolated"]
    assert f"version:{proposed.pk}" in entry["objects"]
    hub.federation.refresh_from_db()
    assert hub.federation.current == version


def test_without_the_lease_nothing_is_taken(hub: Any, cast: Any, doctor: User, tmp_path: Path):
    data = file_of(tmp_path, trained(hub))
    for holder in (None, cast.south_doctor):
        if holder is not None:
            lease.take(holder)
        answer = client_of(doctor).post_file("/upload_model", data)
        assert (answer.status_code, answer.json()["code"]) == (409, "lease_lost")
    assert quarantined() == []
    assert not ModelUpload.objects.exists()


def test_one_model_is_read_at_a_time_however_many_come_at_once(hub: Any, doctor: User, tmp_path: Path):
    lease.take(doctor)
    data = file_of(tmp_path, trained(hub))

    def one(_: int) -> str:
        try:
            return upload_model.receive(doctor, [data]).state
        except Refusal as refusal:
            return refusal.code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(10) as pool:
        answers = sorted(pool.map(one, range(10)))
    assert answers == ["RECEIVED"] + ["upload_waiting"] * 9
    assert len(quarantined()) == 1


@pytest.mark.parametrize(
    ("data", "code", "status"),
    [
        (b"", "model_unreadable", 422),
        (b"GIF89a" + bytes(100), "model_unreadable", 422),
        (b"\x80\x05\x95" + bytes(100), "model_unreadable", 422),
    ],
)
def test_what_is_no_model_at_all_is_refused_at_once(hub: Any, doctor: User, data: bytes, code: str, status: int):
    lease.take(doctor)
    answer = client_of(doctor).post_file("/upload_model", data)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert quarantined() == []


def test_a_model_that_is_too_large_is_not_kept(hub: Any, doctor: User, monkeypatch: Any):
    lease.take(doctor)
    monkeypatch.setattr(upload_model.uploaded, "MAX_BYTES", 1000)
    with pytest.raises(Refusal) as raised:
        upload_model.receive(doctor, [h5.MAGIC, bytes(500), bytes(500)])
    assert (raised.value.code, raised.value.status) == ("body_too_large", 413)
    assert quarantined() == []


def test_a_note_that_is_too_long_is_refused(hub: Any, doctor: User):
    lease.take(doctor)
    with pytest.raises(Refusal) as raised:
        upload_model.receive(doctor, [h5.MAGIC], note="x" * 201)
    assert raised.value.code == "note_long"


def test_a_form_without_a_file_is_refused(hub: Any, doctor: User):
    answer = client_of(doctor).post("/upload_model", {"note": "x"})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


def test_the_current_model_itself_is_no_proposal(hub: Any, doctor: User, tmp_path: Path):
    assert refused(hub, doctor, file_of(tmp_path, current_head(hub))) == "version_unchanged"


def test_a_model_that_waits_already_is_no_second_proposal(hub: Any, cast: Any, doctor: User, tmp_path: Path):
    data = file_of(tmp_path, trained(hub))
    for _ in range(2):
        lease.take(doctor)
        upload = upload_model.receive(doctor, [data])
        upload_model.read(upload.pk)
    upload.refresh_from_db()
    assert (upload.state, upload.code) == ("REFUSED", "version_waiting")
    assert ModelVersion.objects.filter(source="UPLOAD").count() == 1


@pytest.mark.parametrize(
    ("value", "code"), [(np.nan, "model_not_finite"), (1e30, "value_range"), (-3e38, "value_range")]
)
def test_absurd_weights_are_refused(hub: Any, doctor: User, tmp_path: Path, value: float, code: str):
    head = trained(hub)
    head["head_output/bias"][2] = value
    assert refused(hub, doctor, file_of(tmp_path, head)) == code


def test_a_head_far_from_its_parent_is_refused(hub: Any, doctor: User, tmp_path: Path, monkeypatch: Any):
    assert inspect.max_norm(hub.federation) is None
    monkeypatch.setattr(upload_model, "max_norm", lambda _: 0.5)
    assert refused(hub, doctor, file_of(tmp_path, trained(hub))) == "norm_range"


def test_another_architecture_is_refused(hub: Any, doctor: User, tmp_path: Path):
    hub.configure(architecture="vgg16-head256")
    assert refused(hub, doctor, file_of(tmp_path, current_head_of_pixels())) == "unsupported_model"


def current_head_of_pixels() -> weights.Arrays:
    return architectures.initial_head(PIXELS, 5)


def test_a_link_in_the_file_is_refused(hub: Any, doctor: User, tmp_path: Path):
    path = tmp_path / "model.h5"
    h5.write_model(path, PIXELS, [], trained(hub))
    with h5py.File(path, "a") as file:
        del file[OUTPUT]
        file[OUTPUT] = h5py.ExternalLink("/etc/hostname", "x")
    assert refused(hub, doctor, path.read_bytes()) == "model_link"


def test_who_lost_the_role_proposes_nothing(hub: Any, doctor: User, tmp_path: Path):
    lease.take(doctor)
    upload = upload_model.receive(doctor, [file_of(tmp_path, trained(hub))])
    User.objects.filter(pk=doctor.pk).update(role=Role.USER)
    upload_model.read(upload.pk)
    upload.refresh_from_db()
    assert (upload.state, upload.code) == ("REFUSED", "permission_denied")


def test_who_signed_out_meanwhile_has_still_proposed(hub: Any, doctor: User, tmp_path: Path):
    lease.take(doctor)
    upload = upload_model.receive(doctor, [file_of(tmp_path, trained(hub))])
    lease.release(doctor, by="logout")
    upload_model.read(upload.pk)
    upload.refresh_from_db()
    assert upload.state == "PROPOSED"


def test_without_namespaces_it_is_read_with_limits_alone_and_that_is_said(
    hub: Any, doctor: User, tmp_path: Path, monkeypatch: Any, caplog: Any
):
    lease.take(doctor)
    upload = upload_model.receive(doctor, [file_of(tmp_path, trained(hub))])
    without = (
        "from hospintel_core import confine; confine.leave_network = lambda: False; from hospintel_core import reader"
    )
    start = apart._START.replace("from hospintel_core import reader", without)
    monkeypatch.setattr(apart, "_START", start)
    upload_model.read(upload.pk)
    upload.refresh_from_db()
    assert (upload.state, upload.isolated) == ("PROPOSED", False)
    assert hub.event(action="model_upload.proposed")["facts"]["isolated"] is False
    assert "limits on memory, time and files alone" in caplog.text
    client = client_of(doctor)
    assert client.get(f"/api/v1/uploads/{upload.pk}").json()["isolated"] is False
    assert "Read with limits on memory and time alone" in client.get("/models/upload/").content.decode()


def test_reading_it_twice_proposes_it_once(hub: Any, doctor: User, tmp_path: Path):
    lease.take(doctor)
    upload = upload_model.receive(doctor, [file_of(tmp_path, trained(hub))])
    for _ in range(3):
        upload_model.read(upload.pk)
    assert ModelVersion.objects.filter(source="UPLOAD").count() == 1
    assert len(hub.events(action="model_upload.proposed")) == 1


def test_a_worker_that_dies_is_followed_by_another_one(
    hub: Any, doctor: User, tmp_path: Path, monkeypatch: Any, clock: Any
):
    lease.take(doctor)
    upload = upload_model.receive(doctor, [file_of(tmp_path, trained(hub))])

    class Killed(BaseException):
        pass

    def die(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(apart, "ask", die)
        with pytest.raises(Killed):
            tasks.read_model(pk=str(upload.pk))
    assert len(quarantined()) == 1
    clock.shift(timedelta(seconds=10))
    tasks.tick()
    assert work(hub) == 0
    clock.shift(timedelta(seconds=attempts.STALE_SECONDS))
    tasks.tick()
    tasks.tick()
    assert work(hub) == 1
    upload.refresh_from_db()
    assert (upload.state, upload.tries) == ("PROPOSED", 2)
    assert quarantined() == []


def test_what_cannot_be_read_for_want_of_the_hub_is_given_up_after_three_times(
    hub: Any, doctor: User, tmp_path: Path, monkeypatch: Any, clock: Any
):
    lease.take(doctor)
    upload = upload_model.receive(doctor, [file_of(tmp_path, trained(hub))])
    monkeypatch.setattr(apart, "_START", "raise SystemExit(3)")
    for _ in range(3):
        with pytest.raises(RuntimeError):
            tasks.read_model(pk=str(upload.pk))
        clock.shift(timedelta(seconds=61))
    upload.refresh_from_db()
    assert (upload.state, upload.code, upload.tries) == ("REFUSED", "stuck", 3)
    assert quarantined() == []


def test_a_file_that_is_gone_is_said_to_be_gone(hub: Any, doctor: User, tmp_path: Path):
    lease.take(doctor)
    upload = upload_model.receive(doctor, [file_of(tmp_path, trained(hub))])
    upload_model.discard(upload.pk)
    upload_model.read(upload.pk)
    upload.refresh_from_db()
    assert upload.code == "upload_lost"


def test_a_file_that_is_not_the_one_that_came_is_not_read(hub: Any, doctor: User, tmp_path: Path):
    lease.take(doctor)
    upload = upload_model.receive(doctor, [file_of(tmp_path, trained(hub))])
    storage.uploads().put(upload_model.name_of(upload.pk), file_of(tmp_path, trained(hub, by=2.0)))
    upload_model.read(upload.pk)
    upload.refresh_from_db()
    assert (upload.state, upload.code) == ("REFUSED", "upload_lost")


@pytest.mark.usefixtures("in_bucket")
def test_an_uploaded_model_is_read_from_a_bucket(hub: Any, doctor: User, tmp_path: Path):
    lease.take(doctor)
    upload = upload_model.receive(doctor, [file_of(tmp_path, trained(hub))])
    assert [found.name for found in storage.uploads().list("")] == [upload_model.name_of(upload.pk)]
    upload_model.read(upload.pk)
    upload.refresh_from_db()
    assert upload.state == "PROPOSED"
    assert storage.uploads().list("") == []


def test_files_without_an_upload_are_deleted_after_a_while(hub: Any, doctor: User, tmp_path: Path, clock: Any):
    lease.take(doctor)
    kept = upload_model.receive(doctor, [file_of(tmp_path, trained(hub))])
    orphan = settings.UPLOAD_DIR / upload_model.name_of(kept.lease_id)
    orphan.write_bytes(b"x")
    upload_model.tidy()
    assert orphan.exists()
    clock.shift(timedelta(hours=2))
    upload_model.tidy()
    assert quarantined() == [settings.UPLOAD_DIR / upload_model.name_of(kept.pk)]


def test_a_full_disk_is_said(hub: Any, doctor: User, tmp_path: Path, monkeypatch: Any):
    lease.take(doctor)
    data = file_of(tmp_path, trained(hub))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    answer = client_of(doctor).post_file("/upload_model", data)
    assert (answer.status_code, answer.json()["code"]) == (507, "hub_disk_full")
    assert quarantined() == []


def test_the_page_takes_a_model_and_tells_what_became_of_it(hub: Any, doctor: User, tmp_path: Path):
    client = client_of(doctor)
    page = client.post_file("/models/upload/", file_of(tmp_path, trained(hub)))
    text = page.content.decode()
    assert 'role="alert" id="upload-error">You do not have the fine-tuning lease' in text
    lease.take(doctor)
    assert client.post_file("/models/upload/", file_of(tmp_path, trained(hub))).status_code == 302
    assert "Waiting to be read" in client.get("/models/upload/").content.decode()
    work(hub)
    text = client.get("/models/upload/").content.decode()
    assert "Proposed" in text
    assert "proposed by north_doctor" in text


def test_others_see_nothing_of_it_but_reviewers_do(hub: Any, cast: Any, doctor: User, tmp_path: Path):
    lease.take(doctor)
    upload = upload_model.receive(doctor, [file_of(tmp_path, trained(hub))])
    for person, status in ((doctor, 200), (cast.admin, 200), (cast.south_doctor, 404), (cast.reader, 403)):
        assert client_of(person).get(f"/api/v1/uploads/{upload.pk}").status_code == status, person
    assert upload.digest[:12] not in client_of(cast.south_doctor).get("/models/upload/").content.decode()
