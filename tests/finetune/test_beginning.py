"""How a job begins: from which version, with which scans of which class, and what is told of those that are none."""

import io
import re
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest
from bench import begin, fill, png, send, signed_in, switch_on
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from proposing import proposed
from test_lease import code_of

from apps.accounts.models import User
from apps.federation.pipeline import review
from apps.federation.pipeline.step import Refusal
from apps.finetune.models import Job, Scan
from apps.finetune.pipeline import jobs, lease
from apps.finetune.pipeline import train as training


def test_the_folders_of_a_file_say_its_class_and_what_is_said_by_hand_comes_second(job: Job, doctor: User):
    client = signed_in(doctor)
    places = [
        ("mine/Glioma", "", "glioma"),
        ("2024/meningioma_tumor/series 3", "glioma", "meningioma"),
        ("no tumor", "", "notumor"),
        ("new scanner", "pituitary", "pituitary"),
        ("new scanner", "", None),
    ]
    for number, (folder, name, found) in enumerate(places):
        answer = send(client, job, ("a.png", png(0, number)), folder=folder, class_name=name).json()
        assert [scan["class_name"] for scan in answer["scans"]] == [found], folder
    assert send(client, job, ("a.png", png(0, 9)), folder="glioma", class_name="cyst").json()["code"] == "class_unknown"


def test_a_job_starts_from_the_published_version_that_is_chosen(hub: Any, cast: Any, doctor: User):
    first = hub.federation.current
    second = proposed(hub, cast.south_doctor)
    review.publish_held(second, actor=cast.admin.actor)
    held = proposed(hub, cast.south_doctor, by=0.002)
    client = signed_in(doctor)
    lease.take(doctor)
    page = client.get("/workbench/").content.decode()
    options = re.findall(r'<option value="(\d+)">([^<]+)</option>', page)
    assert options == [
        (str(second.number), f"version {second.number}, the current one"),
        (str(first.number), f"version {first.number}"),
    ]
    for number, base in ((str(first.number), first), ("", second), (str(second.number), second)):
        client.post("/workbench/begin", {"base": number})
        job = Job.objects.get(ended_at=None)
        assert job.base == base
        jobs.cancel(job, actor=doctor.actor)
    for number in ("0", "99", "x", "-1", "²"):
        answer = client.post("/workbench/begin", {"base": number}, follow=True)
        assert "There is no such version." in answer.content.decode()
    with pytest.raises(Refusal) as raised:
        jobs.create(doctor, hub.federation, base=held)
    assert code_of(raised) == ("base_unknown", 409)
    assert not Job.objects.filter(ended_at=None).exists()


@pytest.mark.parametrize("epochs", ["0", "21", "-1", "1.5", "", "many", "1e1", "٣"])
def test_a_number_of_epochs_that_no_job_has_is_told_beside_its_field(job: Job, doctor: User, epochs: str):
    fill(job)
    page = signed_in(doctor).post(f"/workbench/{job.pk}/", {"epochs": epochs}).content.decode()
    assert "A job has 1 to 20 epochs." in page
    assert re.search(r'<input id="epochs"[^>]*aria-invalid="true" aria-describedby="not-yet"', page)
    job.refresh_from_db()
    assert job.state == "DRAFT"


def is_told_of_the_scans(page: str, code: str) -> bool:
    """Whether a page says it where scans are brought, whose field has the focus, and nothing beside the epochs."""
    field = r'<input id="files"[^>]* aria-invalid="true" aria-describedby="files-help left-out" autofocus>'
    told = (
        rf'<div id="left-out" class="errors" role="alert"><p id="left-out-head">[^<]+<span class="mono">{code}</span>'
    )
    at_epochs = re.search(r'<input id="epochs"[^>]*aria-', page) or 'id="not-yet"' in page
    return bool(re.search(field, page) and re.search(told, page) and not at_epochs)


def test_what_a_job_wants_for_is_told_beside_its_scans_and_nothing_is_sent_off(hub: Any, job: Job, doctor: User):
    client = signed_in(doctor)
    send(client, job, ("a.png", png(0, 1)), ("b.png", png(0, 2)), class_name="glioma")
    page = client.post(f"/workbench/{job.pk}/", {"epochs": "3"}).content.decode()
    assert "There is no scan of meningioma, notumor, pituitary" in page
    assert is_told_of_the_scans(page, "class_missing")
    assert hub.event(code="class_missing")["actor"] == doctor.actor
    fill(job, 1)
    assert is_told_of_the_scans(client.post(f"/workbench/{job.pk}/", {"epochs": "3"}).content.decode(), "scans_few")
    last = send(client, job, ("c.png", png(0, 90))).json()["scans"][0]["id"]
    page = client.post(f"/workbench/{job.pk}/", {"epochs": "3"}).content.decode()
    assert is_told_of_the_scans(page, "scan_without_class")
    assert client.delete(f"/api/v1/jobs/{job.pk}/scans/{last}").status_code == 204
    assert hub.queued() == []
    fill(job)
    assert client.post(f"/workbench/{job.pk}/", {"epochs": "3"}).status_code == 302
    assert hub.queued() == [{"pk": str(job.pk)}]
    assert "The job is QUEUED." in client.post(f"/workbench/{job.pk}/", {"epochs": "3"}).content.decode()


def zip_of(*names: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for number, name in enumerate(names):
            archive.writestr(name, png(0, number))
    return made.getvalue()


def no_pixels() -> bytes:
    """A PNG that says it is 0 x 8."""
    header = struct.pack(">II5B", 0, 8, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("a.zip", zip_of("glioma/1.png", "astrocytoma/2.png"), "unknown_class"),
        ("a.zip", zip_of("../glioma/1.png"), "unsafe_entry"),
        ("a.png", no_pixels(), "image_unreadable"),
        ("a.png", png(0, 1)[:200], "image_unreadable"),
        ("a.png", b"", "image_empty"),
        ("a.svg", b"<svg/>", "image_format"),
    ],
    ids=["unknown class", "path", "no pixels", "cut short", "empty", "another format"],
)
def test_a_file_that_is_no_scan_is_told_beside_the_field_and_leaves_nothing(
    job: Job, doctor: User, name: str, data: bytes, code: str
):
    client = signed_in(doctor)
    answer = send(client, job, (name, data))
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    page = client.post(f"/workbench/{job.pk}/", {"file": [SimpleUploadedFile(name, data)]}).content.decode()
    assert re.search(r'<input id="files"[^>]*aria-invalid="true" aria-describedby="files-help left-out"', page)
    assert f'<span class="mono">{code}</span>' in page
    assert not Scan.objects.exists()
    assert list((Path(settings.UPLOAD_DIR) / "scans").rglob("*")) == []


def test_who_sends_too_many_files_at_a_time_is_told_how_many_may_come(job: Job, doctor: User):
    client = signed_in(doctor)
    files = [SimpleUploadedFile(f"{number}.png", b"x") for number in range(101)]
    told = "At most 100 files come at a time; a zip file holds more."
    answer = client.post(f"/api/v1/jobs/{job.pk}/scans", {"file": files})
    assert (answer.status_code, answer.json()) == (400, {"code": "bad_request", "detail": told})
    page = client.post(f"/workbench/{job.pk}/", {"file": files}, headers={"Accept": "text/html"})
    assert page.status_code == 400
    assert told in page.content.decode()


def test_an_administrator_does_not_decide_about_what_their_own_job_trained(hub: Any, cast: Any):
    switch_on(cast.north)
    job = begin(cast.admin)
    fill(job)
    jobs.fine_tune(job, epochs=1)
    training.train(job.pk)
    job.refresh_from_db()
    version, _ = jobs.propose(job)
    for verb in ("publish", "reject"):
        answer = signed_in(cast.admin).post_json(f"/api/v1/models/{version.pk}/{verb}", {"reason": "mine"})
        assert (answer.status_code, answer.json()["code"]) == (403, "own_version")
    version.refresh_from_db()
    assert version.state == "HELD"
