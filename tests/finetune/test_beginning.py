"""How a job begins: from which version, and of which class the scans are that come by folder or by hand."""

import re
from typing import Any

import pytest
from bench import begin, png, send, signed_in, switch_on
from proposing import proposed
from test_lease import code_of

from apps.accounts.models import User
from apps.federation.pipeline import review
from apps.federation.pipeline.step import Refusal
from apps.finetune.models import Job
from apps.finetune.pipeline import jobs, lease


@pytest.fixture
def doctor(hub: Any, cast: Any) -> User:
    switch_on(cast.north)
    return cast.north_doctor


@pytest.fixture
def job(doctor: User) -> Job:
    return begin(doctor)


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
