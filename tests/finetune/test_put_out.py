"""Who may not any more, by what somebody else did, holds nobody up; and what is refused is told to few."""

import io
from typing import Any

import pytest
from bench import fill, png, signed_in

from apps.accounts.models import Role, User
from apps.accounts.pipeline import people, sessions
from apps.audit.api import newest_events
from apps.federation.models import Participation
from apps.federation.pipeline.enrol import switch_workbench
from apps.federation.pipeline.step import Refusal
from apps.federation.visibility import visibilities
from apps.finetune import tasks
from apps.finetune.models import Job, Scan
from apps.finetune.pipeline import jobs, lease, scans, upload_model
from apps.finetune.states import JobState
from hospintel_core import h5

ADMIN = "system:test"
WAYS: dict[str, Any] = {
    "deactivated": lambda user, _: people.set_active(user, active=False, actor=ADMIN),
    "role": lambda user, _: people.change_role(user, Role.USER, actor=ADMIN),
    "hospital": lambda user, hospital: people.remove_member(user, hospital, actor=ADMIN),
    "admin": lambda user, _: sessions.end_sessions(user, actor=ADMIN),
}


@pytest.fixture
def job(job: Job) -> Job:
    fill(job)
    return job


@pytest.mark.parametrize("way", WAYS)
def test_who_is_put_out_gives_the_lease_back_and_their_draft_is_cancelled(hub: Any, cast: Any, job: Any, way: str):
    # The cast is shared by tests: what is changed is a copy.
    WAYS[way](User.objects.get(pk=cast.north_doctor.pk), cast.north)
    assert lease.current(hub.federation) is None
    job.refresh_from_db()
    assert (job.state, job.code) == (JobState.CANCELLED, "lease_lost")
    entry = hub.event(action="lease.released")
    assert (entry["actor"], entry["facts"]["by"]) == (ADMIN, way)
    tasks.tick()
    assert not Scan.objects.filter(job=job).exists()
    assert lease.take(cast.south_doctor).token == 2


def test_a_workbench_that_is_switched_off_takes_no_scan_and_trains_nothing(hub: Any, cast: Any, job: Any):
    before = Scan.objects.filter(job=job).count()
    switch_workbench(Participation.objects.get(hospital=cast.north), on=False, actor=ADMIN)
    scan = Scan.objects.filter(job=job).first()
    assert scan is not None
    for write in (
        lambda: scans.add(job, [("one.png", io.BytesIO(png(0, 99)))], label=0),
        lambda: scans.set_class(job, scan, 1),
        lambda: jobs.fine_tune(job, epochs=1),
    ):
        with pytest.raises(Refusal) as raised:
            write()
        assert (raised.value.code, raised.value.status) == ("workbench_off", 403)
    job.refresh_from_db()
    assert (job.state, Scan.objects.filter(job=job).count()) == (JobState.DRAFT, before)
    assert "The workbench is off for your hospital." in signed_in(cast.north_doctor).get(f"/workbench/{job.pk}/").text
    scans.remove(job, scan)
    jobs.cancel(job, actor=ADMIN)


def test_a_refused_model_is_told_to_administrators_alone(hub: Any, cast: Any):
    lease.take(cast.north_doctor)
    upload = upload_model.receive(cast.north_doctor, [h5.MAGIC + b"no model"])
    upload_model.read(upload.pk)

    def told(user: Any) -> set[str]:
        found = newest_events(50, visibilities=visibilities(user))
        return {event["action"] for event in found if event["action"].startswith("model_upload.")}

    assert told(cast.admin) == {"model_upload.received", "model_upload.reading", "model_upload.refused"}
    for person in (cast.reader, cast.south_doctor):
        assert told(person) == set()
