"""Jobs: scans that are kept sealed and go, what is trained of them, and what is refused."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import on_disk
import pytest
from bench import fill, png, send, signed_in, switch_on, zipped
from django.conf import settings
from test_lease import at_once
from validating import ready_set

from apps.accounts.models import User
from apps.federation.models import ModelVersion
from apps.federation.pipeline import attempts, validation
from apps.federation.pipeline.step import Refusal
from apps.federation.pipeline.validate import reports_of
from apps.finetune import tasks
from apps.finetune.models import Job, Scan
from apps.finetune.pipeline import claim, finish, jobs, lease, vault
from apps.finetune.pipeline import train as training


def files_of(job: Job) -> list[Path]:
    """What lies on disk of a job: its key and its scans."""
    folders = [Path(settings.KEYS), Path(settings.UPLOAD_DIR)]
    return [path for folder in folders for path in folder.rglob(f"*{job.pk}*")]


def refused(call: Any) -> str:
    with pytest.raises(Refusal) as raised:
        call()
    return raised.value.code


def test_a_job_from_beginning_to_proposal(hub: Any, job: Job, doctor: User):
    added = fill(job)
    assert (len(added.scans), added.refused, added.copies) == (32, [], [])
    jobs.fine_tune(job, epochs=3)
    training.train(job.pk)
    job.refresh_from_db()
    assert (job.state, job.code, job.attempts, job.claim) == ("DONE", "", 1, None)
    assert [one["epoch"] for one in job.progress["epochs"]] == [1, 2, 3]
    held = sum(held for _, held in job.counts.values())
    assert held > 0
    assert training.measured(job, "before").n == training.measured(job, "after").n == held
    assert training.measured(job, "before") != training.measured(job, "after")
    assert not Scan.objects.exists()
    assert files_of(job) == []
    assert hub.event(action="job.erase")["facts"]["scans"] == 32
    version, _ = jobs.propose(job, note="more of our scanner")
    assert (version.state, version.source, version.author, version.parent) == ("HELD", "FINE_TUNE", doctor, job.base)
    assert version.report == job.report
    job.refresh_from_db()
    assert (job.state, job.version) == ("PROPOSED", version)
    assert refused(lambda: jobs.propose(job)) == "job_state"
    assert ModelVersion.objects.filter(source="FINE_TUNE").count() == 1


def test_scans_lie_sealed_under_a_key_of_their_own(job: Job):
    fill(job, 2)
    kept = [path for path in Path(settings.UPLOAD_DIR).rglob("*") if path.is_file()]
    assert len(kept) == 8
    scan = Scan.objects.first()
    plain = vault.read(job.pk, scan.pk)
    assert plain.startswith(b"\x89PNG")
    for path in kept:
        data = path.read_bytes()
        # Three bytes stand in some ciphertext by chance, five do not.
        assert not [mark for mark in (b"\x89PNG\r", b"\rIHDR", b"IEND\xae") if mark in data]
        assert plain[20:60] not in data
        assert path.parent.stat().st_mode & 0o077 == 0
    key = Path(settings.KEYS) / "jobs" / f"{job.pk}.key"
    assert (key.stat().st_mode & 0o777, len(key.read_bytes())) == (0o600, 32)
    other = Scan.objects.last()
    on_disk.scan_path(vault, job.pk, scan.pk).write_bytes(on_disk.scan_path(vault, job.pk, other.pk).read_bytes())
    with pytest.raises(vault.VaultError) as raised:
        vault.read(job.pk, scan.pk)
    assert raised.value.code == "scan_damaged"


def test_the_same_image_counts_once_and_is_named(job: Job, doctor: User):
    client = signed_in(doctor)
    assert send(client, job, ("a.png", png(0, 1)), class_name="glioma").json()["scans"][0]["class_name"] == "glioma"
    again = send(client, job, ("b.png", png(0, 1)), ("c.png", png(0, 2)), class_name="glioma").json()
    assert again["copies"] == [{"place": "1", "number": 1}]
    assert [scan["number"] for scan in again["scans"]] == [2]
    other = send(client, job, ("b.png", png(0, 1)), class_name="notumor")
    assert (other.status_code, other.json()["code"]) == (422, "conflicting_label")


def test_bad_files_are_refused_by_code_and_good_ones_beside_them_taken(hub: Any, job: Job, doctor: User):
    client = signed_in(doctor)
    answer = send(client, job, ("x.png", b"MZ no image"), ("y.png", png(1, 1)), class_name="meningioma").json()
    assert [(one["place"], one["code"]) for one in answer["refused"]] == [("1", "image_mismatch")]
    assert len(answer["scans"]) == 1
    bad = send(client, job, ("patient-smith.png", png(1, 2)[:60]))
    assert (bad.status_code, bad.json()["code"]) == (422, "image_unreadable")
    assert send(client, job, ("z.png", png(1, 3)), class_name="cyst").json()["code"] == "class_unknown"
    assert client.post(f"/api/v1/jobs/{job.pk}/scans", {}).json()["code"] == "bad_request"
    assert "smith" not in str(hub.events())
    assert len(list(Path(settings.UPLOAD_DIR).rglob("*.bin"))) == Scan.objects.count() == 1


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ([("a.png", png(0, 1)), ("b.png", png(0, 2))], "class_missing"),
        ([("a.zip", zipped(8, ("glioma", "notumor", "pituitary")))], "class_missing"),
        ([("a.zip", zipped(1))], "scans_few"),
    ],
)
def test_too_little_is_refused_before_any_training(job: Job, doctor: User, files: Any, code: str):
    client = signed_in(doctor)
    assert send(client, job, *files, class_name="glioma").status_code == 200
    answer = client.post_json(f"/api/v1/jobs/{job.pk}/train", {"epochs": 3})
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    job.refresh_from_db()
    assert job.state == "DRAFT"


@pytest.mark.parametrize("epochs", [0, 21, -1])
def test_epochs_are_one_to_twenty(job: Job, doctor: User, epochs: int):
    fill(job)
    answer = signed_in(doctor).post_json(f"/api/v1/jobs/{job.pk}/train", {"epochs": epochs})
    assert (answer.status_code, answer.json()["code"]) == (400, "epochs_range")


def test_scans_of_many_sizes_are_fine_and_one_without_class_is_asked_about(job: Job, doctor: User):
    client = signed_in(doctor)
    fill(job)
    added = send(client, job, ("big.png", png(2, 99, 200))).json()["scans"][0]
    answer = client.post_json(f"/api/v1/jobs/{job.pk}/train", {"epochs": 1})
    assert answer.json()["code"] == "scan_without_class"
    path = f"/api/v1/jobs/{job.pk}/scans/{added['id']}"
    changed = client.patch(path, {"class_name": "notumor"}, content_type="application/json")
    assert changed.json()["class_name"] == "notumor"
    assert client.post_json(f"/api/v1/jobs/{job.pk}/train", {"epochs": 1}).json()["state"] == "QUEUED"
    training.train(job.pk)
    job.refresh_from_db()
    assert job.state == "DONE"


def test_who_has_no_lease_writes_nothing(hub: Any, job: Job, doctor: User, cast: Any, clock: Any):
    fill(job)
    clock.shift(timedelta(minutes=61))
    client = signed_in(doctor)
    for answer in (
        send(client, job, ("a.png", png(0, 50))),
        client.post_json(f"/api/v1/jobs/{job.pk}/train", {"epochs": 1}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (409, "lease_lost")
    assert Scan.objects.count() == 32
    tasks.tick()
    job.refresh_from_db()
    assert (job.state, job.code) == ("CANCELLED", "lease_lost")
    assert files_of(job) == []
    assert refused(lambda: jobs.create(doctor, hub.federation)) == "lease_lost"


def test_a_job_goes_with_its_lease(job: Job, doctor: User):
    fill(job, 2)
    client = signed_in(doctor)
    client.post("/accounts/logout/")
    tasks.tick()
    job.refresh_from_db()
    assert (job.state, job.code) == ("CANCELLED", "lease_lost")
    assert files_of(job) == []
    assert not Scan.objects.exists()


def test_the_workbench_is_off_until_an_admin_switches_it_on(hub: Any, cast: Any):
    lease.take(cast.north_doctor)
    assert refused(lambda: jobs.create(cast.north_doctor, hub.federation)) == "workbench_off"
    switch_on(cast.south)
    assert refused(lambda: jobs.create(cast.north_doctor, hub.federation)) == "workbench_off"
    switch_on(cast.north)
    assert jobs.create(cast.north_doctor, hub.federation).hospital == cast.north


def test_of_fifty_jobs_begun_at_once_there_is_one(hub: Any, doctor: User):
    lease.take(doctor)
    before = set((Path(settings.KEYS) / "jobs").glob("*"))
    answers = at_once(50, lambda _: jobs.create(doctor, hub.federation).pk)
    assert sorted(map(str, answers)).count("job_active") == 49
    (made,) = Job.objects.all()
    assert {path.stem for path in set((Path(settings.KEYS) / "jobs").glob("*")) - before} == {str(made.pk)}


def test_of_many_proposals_at_once_there_is_one(hub: Any, job: Job):
    fill(job)
    jobs.fine_tune(job, epochs=1)
    training.train(job.pk)
    answers = at_once(50, lambda _: jobs.propose(Job.objects.select_related("federation", "owner", "base").get()))
    assert len([answer for answer in answers if isinstance(answer, tuple)]) == 1
    assert ModelVersion.objects.filter(source="FINE_TUNE").count() == 1


def test_of_many_workers_one_does_the_job(hub: Any, job: Job):
    fill(job)
    jobs.fine_tune(job, epochs=2)
    at_once(8, lambda _: tasks.train(pk=str(job.pk)))
    job.refresh_from_db()
    assert (job.state, job.attempts) == ("DONE", 1)
    assert len(hub.events(action="job.done")) == 1


class Killed(BaseException):
    """A process that is gone: nothing of it runs any more."""


def die(*_: Any) -> None:
    raise Killed


def test_a_job_is_given_up_after_three_workers_died_over_it(hub: Any, job: Job, clock: Any):
    fill(job)
    jobs.fine_tune(job, epochs=1)
    for _ in range(attempts.MOST_TRIES):
        with pytest.raises(Killed):
            attempts.attempt("train", job.pk, die)
        tasks.train(pk=str(job.pk))  # another worker, which finds it taken
        job.refresh_from_db()
        assert job.state == "QUEUED"
        clock.shift(timedelta(seconds=attempts.STALE_SECONDS + 1))
        assert [lost.id for lost in attempts.due({"train"})] == [job.pk]
    tasks.train(pk=str(job.pk))
    job.refresh_from_db()
    assert (job.state, job.code) == ("FAILED", "worker_lost")
    tasks.tick()
    assert files_of(job) == []


def test_a_job_done_again_after_its_worker_died_gives_the_same_head(job: Job, clock: Any):
    fill(job)
    jobs.fine_tune(job, epochs=2)
    dead = claim.take(job.pk)
    dead.move(jobs.JobState.PREPARING)
    dead.move(jobs.JobState.TRAINING)
    clock.shift(timedelta(seconds=claim.STALE_SECONDS + 1))
    training.train(job.pk)
    job.refresh_from_db()
    assert (job.state, job.attempts) == ("DONE", 2)
    with pytest.raises(claim.LostError):
        dead.tell({})
    with pytest.raises(claim.LostError):
        dead.end(jobs.JobState.DONE)


def test_cancelling_stops_the_worker(job: Job, doctor: User, monkeypatch: pytest.MonkeyPatch):
    fill(job)
    jobs.fine_tune(job, epochs=20)
    real = training._Training._epoch_done
    seen = []

    def cancel_then(self: Any, result: Any) -> None:
        seen.append(result.epoch)
        if len(seen) == 1:
            answer = signed_in(doctor).post(f"/api/v1/jobs/{job.pk}/cancel")
            assert answer.json()["state"] == "CANCELLED"
            self.told_at = 0.0
        real(self, result)

    monkeypatch.setattr(training._Training, "_epoch_done", cancel_then)
    training.train(job.pk)
    job.refresh_from_db()
    assert (job.state, job.code, seen) == ("CANCELLED", "cancelled", [1])
    assert files_of(job) == []


def test_others_jobs_are_not_there_and_their_scans_not_even_for_admins(job: Job, cast: Any, doctor: User):
    fill(job, 2)
    scan = Scan.objects.first()
    for person, status in ((cast.south_doctor, 404), (cast.admin, 200)):
        client = signed_in(person)
        assert client.get(f"/api/v1/jobs/{job.pk}").status_code == status
        assert client.get(f"/api/v1/jobs/{job.pk}/scans").status_code == 404
        assert client.delete(f"/api/v1/jobs/{job.pk}/scans/{scan.pk}").status_code == 404
        assert len(client.get("/api/v1/jobs").json()["jobs"]) == (status == 200)
    assert signed_in(doctor).delete(f"/api/v1/jobs/{job.pk}/scans/{scan.pk}").status_code == 204
    assert Scan.objects.count() == 7


def test_scans_go_after_a_day_whoever_keeps_the_lease(job: Job, doctor: User, clock: Any):
    fill(job, 2)
    for _ in range(25):
        clock.shift(timedelta(minutes=59))
        lease.take(doctor)
    tasks.tick()
    job.refresh_from_db()
    assert (job.state, job.code) == ("CANCELLED", "job_old")
    assert files_of(job) == []


def test_what_a_crash_left_goes_later(job: Job, clock: Any, monkeypatch: pytest.MonkeyPatch):
    fill(job, 2)
    monkeypatch.setattr(finish.vault, "erase", lambda _: (_ for _ in ()).throw(OSError("disk")))
    jobs.cancel(job, actor=job.owner.actor)
    assert files_of(job)
    monkeypatch.undo()
    orphan = uuid4()
    vault.create(orphan)
    tasks.tick()
    clock.shift(timedelta(minutes=2))
    tasks.tick()
    tasks.sweep()
    assert files_of(job) == []
    assert vault.kept(1e12) == set()
    job.refresh_from_db()
    assert job.erased_at is not None


def test_a_job_is_measured_on_the_hubs_validation_set_too(hub: Any, cast: Any, job: Job, doctor: User):
    found = ready_set(hub, cast.admin)
    fill(job)
    jobs.fine_tune(job, epochs=3)
    training.train(job.pk)
    job.refresh_from_db()
    before, after = (training.measured(job, which, "validation") for which in ("before", "after"))
    assert before.n == after.n == found.total
    assert before != after
    told = signed_in(doctor).get(f"/api/v1/jobs/{job.pk}").json()["on_hub"]
    assert (told[0]["n"], told[0]["after"]["accuracy"]) == (found.total, after.accuracy)
    page = signed_in(doctor).get(f"/workbench/{job.pk}/").content.decode()
    assert "Before and after, on the hub" in page
    for report, place in ((before, "before-hub"), (after, "after-hub")):
        table = page.partition(f'id="table-{place}"')[2].partition("</table>")[0]
        cells = [int(cell) for cell in re.findall(r"<td[^>]*>(\d+)</td>", table)]
        assert cells == [count for row in report.confusion for count in row]
        assert sum(cells) == found.total
    version, following = jobs.propose(job)
    assert version.report == {"held_out": job.report["held_out"]}
    hub.run(following)
    assert reports_of(version) == (before, after)


def test_a_set_that_cannot_be_read_costs_a_job_nothing_but_that_part(hub: Any, cast: Any, job: Job):
    found = ready_set(hub, cast.admin)
    on_disk.scan_path(validation.SCANS, found.pk, validation.features_id(found.digest, found.backbone)).unlink()
    fill(job)
    jobs.fine_tune(job, epochs=1)
    training.train(job.pk)
    job.refresh_from_db()
    found.refresh_from_db()
    assert (job.state, set(job.report), found.state) == ("DONE", {"held_out"}, "FAILED")
