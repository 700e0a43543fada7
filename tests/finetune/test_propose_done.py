"""Asked for when a job is sent off: once done, it is proposed by itself, once, or its owner is told why not."""

import multiprocessing
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from bench import fill, signed_in
from django.db import connections
from proposing import proposed
from sudden_end import dies

from apps.accounts.models import Role, User
from apps.accounts.pipeline import people
from apps.audit.api import verify
from apps.federation.models import Attempt, ModelVersion, Participation
from apps.federation.pipeline import attempts
from apps.federation.pipeline.enrol import switch_workbench
from apps.federation.pipeline.step import Refusal
from apps.finetune import tasks
from apps.finetune.models import Job
from apps.finetune.pipeline import jobs, lease, propose_done
from apps.finetune.pipeline.train import train

ADMIN = "system:test"
NOTE = "scans of our new scanner"


@pytest.fixture
def done(job: Job) -> Job:
    """Trained, and to be proposed: the worker died right after the end of the training."""
    fill(job)
    jobs.fine_tune(job, epochs=1, propose=True, note=NOTE)
    train(job.pk)
    job.refresh_from_db()
    assert (job.state, job.not_proposed) == ("DONE", "")
    return job


def proposals() -> int:
    return ModelVersion.objects.filter(source="FINE_TUNE").count()


def proposed_once(hub: Any, job: Job) -> None:
    job.refresh_from_db()
    version = ModelVersion.objects.get(source="FINE_TUNE")
    assert (job.state, job.version, job.not_proposed, version.state) == ("PROPOSED", version, "", "HELD")
    assert [len(hub.events(action=action)) for action in ("version.propose", "job.proposed")] == [1, 1]
    assert hub.events(action="job.not_proposed") == []
    assert verify().ok


def test_who_asks_for_it_finds_the_job_proposed(hub: Any, job: Job, doctor: User):
    fill(job)
    client = signed_in(doctor)
    sent = client.post_json(f"/api/v1/jobs/{job.pk}/train", {"epochs": 2, "propose": True, "note": f" {NOTE}\n"}).json()
    assert (sent["state"], sent["propose"], sent["note"], sent["not_proposed"]) == ("QUEUED", True, NOTE, "")
    assert "It will be proposed for review when it is done." in client.get(f"/workbench/{job.pk}/").text
    assert hub.queued() == [{"pk": str(job.pk)}]
    tasks.train(pk=str(job.pk))
    assert client.get(f"/api/v1/jobs/{job.pk}").json()["state"] == "DONE"
    page = client.get(f"/workbench/{job.pk}/").text
    assert "The training is done, and is being proposed." in page
    assert 'id="propose-button"' not in page
    assert hub.queued() == [{"pk": str(job.pk)}]
    tasks.propose(pk=str(job.pk))
    proposed_once(hub, job)
    told, version = client.get(f"/api/v1/jobs/{job.pk}").json(), ModelVersion.objects.get(source="FINE_TUNE")
    assert (told["state"], told["version"], told["not_proposed"]) == ("PROPOSED", str(version.pk), "")
    assert (version.author, version.note, version.parent) == (doctor, NOTE, job.base)
    for action in ("version.propose", "job.proposed"):
        assert hub.event(action=action)["actor"] == doctor.actor
    assert hub.queued() == [{"name": "validate", "pk": str(version.pk)}]
    assert "waits for an administrator" in client.get(f"/workbench/{job.pk}/").text


def test_who_does_not_ask_proposes_by_hand_as_ever(hub: Any, job: Job, doctor: User, clock: Any):
    fill(job)
    client = signed_in(doctor)
    sent = client.post_json(f"/api/v1/jobs/{job.pk}/train", {"epochs": 1}).json()
    assert (sent["propose"], sent["note"]) == (False, "")
    hub.queued()
    tasks.train(pk=str(job.pk))
    clock.shift(timedelta(minutes=1))
    tasks.tick()
    assert hub.queued() == []
    tasks.propose(pk=str(job.pk))
    assert client.get(f"/api/v1/jobs/{job.pk}").json()["state"] == "DONE"
    assert client.post_json(f"/api/v1/jobs/{job.pk}/propose", {}).json()["state"] == "HELD"


@pytest.mark.parametrize(("box", "wanted"), [({"propose": "on"}, True), ({}, False)])
def test_the_box_of_the_form_says_it(job: Job, doctor: User, box: dict[str, str], wanted: bool):
    fill(job)
    client = signed_in(doctor)
    assert 'name="propose" checked' in client.get(f"/workbench/{job.pk}/").text
    bad = client.post(f"/workbench/{job.pk}/", {"epochs": "2", "note": "x" * 201, **box})
    assert "note_long" in bad.text
    assert ('name="propose" checked' in bad.text) is wanted
    assert client.post(f"/workbench/{job.pk}/", {"epochs": "2", "note": NOTE, **box}).status_code == 302
    job.refresh_from_db()
    assert (job.state, job.propose, job.note) == ("QUEUED", wanted, NOTE)


def copy(user: User) -> User:
    """The cast is shared by tests: what is changed is a copy."""
    return User.objects.get(pk=user.pk)


REFUSED: dict[str, Callable[[Any, Any, Job], object]] = {
    "lease_lost": lambda _, cast, __: lease.release(cast.north_doctor, by="holder"),
    "permission_denied": lambda _, cast, __: people.change_role(copy(cast.north_doctor), Role.USER, actor=ADMIN),
    "not_a_member": lambda _, cast, __: people.remove_member(copy(cast.north_doctor), cast.north, actor=ADMIN),
    "workbench_off": lambda _, cast, __: switch_workbench(
        Participation.objects.get(hospital=cast.north), on=False, actor=ADMIN
    ),
    "version_waiting": lambda hub, cast, job: proposed(hub, cast.admin, digest=job.digest),
}


@pytest.mark.parametrize("code", REFUSED)
def test_a_proposal_that_is_refused_leaves_the_job_done_and_says_why(hub: Any, cast: Any, done: Job, code: str):
    REFUSED[code](hub, cast, done)
    before = proposals()
    for _ in range(2):
        tasks.propose(pk=str(done.pk))
    done.refresh_from_db()
    assert (done.state, done.not_proposed, done.version, proposals()) == ("DONE", code, None, before)
    entry = hub.event(action="job.not_proposed")
    assert (entry["outcome"], entry["facts"]["code"], entry["object"]) == ("refused", code, f"job:{done.pk}")
    reader = signed_in(cast.admin)
    assert reader.get(f"/api/v1/jobs/{done.pk}").json()["not_proposed"] == code
    assert "It was not proposed by itself." in reader.get(f"/workbench/{done.pk}/").text
    assert not Attempt.objects.exists()
    assert verify().ok


def test_after_a_refusal_its_owner_proposes_by_hand_with_the_same_note(hub: Any, cast: Any, done: Job):
    lease.release(cast.north_doctor, by="holder")
    tasks.propose(pk=str(done.pk))
    client = signed_in(cast.north_doctor)
    page = client.get(f"/workbench/{done.pk}/").text
    assert "The fine-tuning lease had ended. Take it again, then propose." in page
    assert f'value="{NOTE}"' in page
    lease.take(cast.north_doctor)
    assert client.post(f"/workbench/{done.pk}/propose", {"note": NOTE}).status_code == 302
    done.refresh_from_db()
    assert (done.state, done.not_proposed) == ("PROPOSED", "")
    assert "It was not proposed by itself." not in client.get(f"/workbench/{done.pk}/").text


def test_who_is_quicker_than_the_worker_has_proposed_it(hub: Any, done: Job, monkeypatch: pytest.MonkeyPatch):
    real = jobs.propose

    def meanwhile(job: Job, *, note: str) -> Any:
        monkeypatch.setattr(jobs, "propose", real)
        real(Job.objects.get(pk=job.pk))
        return real(job, note=note)

    monkeypatch.setattr(jobs, "propose", meanwhile)
    tasks.propose(pk=str(done.pk))
    proposed_once(hub, done)


def test_a_worker_that_dies_anywhere_proposes_it_once(hub: Any, done: Job, clock: Any):
    """One more durable step is survived each time, until the last one is; the tick has it done again at once."""
    for step in range(40):
        hub.queued()
        if not dies(lambda: tasks.propose(pk=str(done.pk)), step):
            break
        tasks.tick()
        again = {"pk": str(done.pk)} in hub.queued()
        assert again or not Attempt.objects.filter(step="propose_job").exists()
        Attempt.objects.all().delete()  # the next death is a first one
    else:
        pytest.fail("it had more steps than that")
    assert step > 2
    proposed_once(hub, done)


def test_a_proposal_whose_task_is_lost_is_found_by_the_tick(hub: Any, done: Job, clock: Any):
    tasks.tick()
    assert hub.queued() == []
    clock.shift(timedelta(seconds=propose_done.QUEUED_SECONDS + 1))
    for _ in range(2):
        tasks.tick()
    assert hub.queued() == [{"pk": str(done.pk)}]
    tasks.propose(pk=str(done.pk))
    proposed_once(hub, done)
    clock.shift(timedelta(minutes=1))
    hub.queued()
    tasks.tick()
    assert hub.queued() == []


def test_of_two_processes_at_once_one_proposes(hub: Any, done: Job):
    connections.close_all()
    context = multiprocessing.get_context("fork")
    together = context.Barrier(4)

    def press() -> None:
        together.wait()
        with suppress(Refusal):
            jobs.propose(Job.objects.select_related("federation", "owner", "base").get(pk=done.pk))

    def work() -> None:
        together.wait()
        tasks.propose(pk=str(done.pk))

    processes = [context.Process(target=one) for one in (work, press, work, press)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * 4
    proposed_once(hub, done)


def test_after_three_deaths_it_is_left_to_its_owner(hub: Any, done: Job, clock: Any):
    for _ in range(attempts.MOST_TRIES):
        assert dies(lambda: tasks.propose(pk=str(done.pk)), 1)
        assert [lost.id for lost in attempts.due({"propose_job"})] == [done.pk]
        clock.shift(timedelta(seconds=attempts.QUEUED_SECONDS))
    tasks.propose(pk=str(done.pk))
    done.refresh_from_db()
    assert (done.state, done.not_proposed, proposals()) == ("DONE", "stuck", 0)
    assert hub.event(action="step.parked")["facts"]["step"] == "propose_job"
    assert attempts.parked() == []
    assert jobs.propose(done)[0].state == "HELD"
