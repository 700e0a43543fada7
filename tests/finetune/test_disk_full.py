"""A full disk where scans come and where a job trains: it is said as such, and nothing half-done stays."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import validating
from bench import begin, fill, png, send, signed_in
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse
from full_disk import filled
from hub_driver import assert_refused

from apps.accounts.models import User
from apps.federation.models import ValidationScan, ValidationSet
from apps.finetune.models import Job, Scan
from apps.finetune.pipeline import jobs, lease
from apps.finetune.pipeline import train as training

SAID = "The hub&#x27;s disk is full."


@pytest.fixture
def uploads(hub: Any, small_disk: Callable[[str, int], Path], settings: Any) -> Path:
    """The upload folder on a small disk."""
    settings.UPLOAD_DIR = small_disk("small-uploads", 256)
    return settings.UPLOAD_DIR


@pytest.fixture
def small_keys(hub: Any, small_disk: Callable[[str, int], Path], settings: Any) -> Path:
    """The keys on a small disk."""
    keys = small_disk("small-keys", 512)
    shutil.copytree(settings.KEYS, keys, dirs_exist_ok=True)
    settings.KEYS = keys
    return keys


def left(folder: Path) -> list[str]:
    """Names of the files in a folder."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.name != "filler")


def test_scans_for_a_job_are_refused_and_none_of_them_stays(hub: Any, doctor: User, uploads: Path):
    job, client = begin(doctor), signed_in(doctor)
    assert send(client, job, ("a.png", png(0, 1)), class_name="glioma").status_code == 200
    before = left(uploads)
    with filled(uploads):
        assert_refused(send(client, job, ("b.png", png(0, 2)), class_name="glioma"), 507, "hub_disk_full")
        assert hub.event(code="hub_disk_full")["actor"] == doctor.actor
        form = {"file": SimpleUploadedFile("c.png", png(0, 3)), "class_name": "glioma"}
        page = client.post(f"/workbench/{job.pk}/", form)
        assert (page.status_code, SAID in page.content.decode()) == (200, True)
    assert (Scan.objects.count(), left(uploads)) == (1, before)
    job.refresh_from_db()
    assert job.state == "DRAFT"
    assert send(client, job, ("b.png", png(0, 2)), class_name="glioma").status_code == 200


def test_of_many_scans_for_which_there_is_half_the_room_none_stays(doctor: User, uploads: Path):
    job, client = begin(doctor), signed_in(doctor)
    many = [(f"{number}.png", png(0, number, 160)) for number in range(20)]
    assert sum(len(data) for _, data in many) > 256 * 1024
    assert_refused(send(client, job, *many, class_name="glioma"), 507, "hub_disk_full")
    assert (Scan.objects.count(), left(uploads)) == (0, [])


def test_a_job_whose_key_has_no_room_is_refused(doctor: User, small_keys: Path, settings: Any):
    lease.take(doctor)
    before, client = left(small_keys), signed_in(doctor)
    with filled(small_keys):
        assert_refused(client.post_json("/api/v1/jobs", {}), 507, "hub_disk_full")
        assert SAID in client.post("/workbench/begin", follow=True).content.decode()
        assert left(small_keys) == before
    assert not Job.objects.exists()
    assert not list(settings.UPLOAD_DIR.rglob("scans/*"))
    assert client.post_json("/api/v1/jobs", {}).status_code == 201


@pytest.mark.parametrize("disk", ["small_keys", "uploads"])
def test_a_first_scan_of_a_validation_set_is_refused_and_no_set_begins(
    hub: Any, cast: Any, disk: str, request: pytest.FixtureRequest, settings: Any
):
    folder, client = request.getfixturevalue(disk), signed_in(cast.admin)
    before = left(folder)
    with filled(folder):
        for path, status, said in (
            ("/api/v1/validation/scans", 507, "hub_disk_full"),
            (reverse("validation"), 200, SAID),
        ):
            form = {"file": SimpleUploadedFile("a.png", validating.png(0, 1)), "class_name": "glioma"}
            answer = client.post(path, form)
            assert (answer.status_code, said in answer.content.decode()) == (status, True)
        assert left(folder) == before
    assert not ValidationSet.objects.exists()
    assert not list(settings.UPLOAD_DIR.rglob("validation/*"))
    assert {event["actor"] for event in hub.events(code="hub_disk_full")} == {cast.admin.actor}


def test_a_validation_set_that_is_being_brought_stays_as_it_was(hub: Any, cast: Any, uploads: Path):
    validating.bring(hub, cast.admin, 2)
    before, client = left(uploads), signed_in(cast.admin)
    with filled(uploads):
        form = {"file": SimpleUploadedFile("a.png", validating.png(0, 70)), "class_name": "glioma"}
        assert_refused(client.post("/api/v1/validation/scans", form), 507, "hub_disk_full")
    assert (ValidationScan.objects.count(), left(uploads)) == (8, before)


def test_a_job_whose_head_has_no_room_ends_with_that_reason(
    doctor: User, small_disk: Callable[[str, int], Path], settings: Any
):
    job = begin(doctor)
    fill(job)
    jobs.fine_tune(job, epochs=1)
    models = small_disk("small-models", 256)
    shutil.copytree(settings.MODEL_DIR, models, dirs_exist_ok=True)
    settings.MODEL_DIR = models
    before = left(models)
    with filled(models):
        training.train(job.pk)
        assert left(models) == before
    job.refresh_from_db()
    assert (job.state, job.code, job.attempts, job.claim) == ("FAILED", "hub_disk_full", 1, None)
    assert job.erased_at is not None
    assert not list(settings.UPLOAD_DIR.rglob(f"*{job.pk}*"))
    page = signed_in(doctor).get(f"/workbench/{job.pk}/").content.decode()
    assert f"{SAID} An administrator makes room" in page
