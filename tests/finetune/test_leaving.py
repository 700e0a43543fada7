"""Whoever leaves in the middle of a job is told what that costs, and it costs that."""

import pytest
from bench import begin, fill, signed_in, switch_on
from test_lease import at_once

from apps.audit.api import transaction
from apps.federation.pipeline.review import publish_held, reject
from apps.finetune import tasks
from apps.finetune.models import Lease, Scan
from apps.finetune.pipeline import jobs, lease, vault
from apps.finetune.pipeline.claim import take
from apps.finetune.pipeline.finish import end_job, erase_quietly
from apps.finetune.pipeline.train import train
from apps.finetune.states import JobState

ASKED = "Signing out gives the lease back."
pytestmark = pytest.mark.usefixtures("hub")


@pytest.fixture
def job(cast):
    switch_on(cast.north)
    job = begin(cast.north_doctor)
    fill(job)
    return job


def front_page(user):
    return signed_in(user).get("/", headers={"Accept": "text/html"}).text


def test_signing_out_in_the_middle_of_a_job_asks_first(cast, job):
    for state in ("draft", "queued"):
        assert ASKED in front_page(cast.north_doctor), state
        assert ASKED not in front_page(cast.south_doctor)
        assert ASKED not in front_page(cast.admin)
        if state == "draft":
            jobs.fine_tune(job, epochs=1)
    train(job.pk)
    assert ASKED not in front_page(cast.north_doctor), "what is trained stays"


def test_signing_out_cancels_a_job_that_a_worker_has_and_deletes_its_scans(cast, job):
    jobs.fine_tune(job, epochs=1)
    claim = take(job.pk)
    assert claim is not None
    browser = signed_in(cast.north_doctor)
    browser.post("/accounts/logout/")
    job.refresh_from_db()
    assert (job.state, job.code) == (JobState.CANCELLED, "lease_lost")
    assert Lease.objects.get().state == "RELEASED"
    page = signed_in(cast.north_doctor).get(f"/workbench/{job.pk}/").text
    assert "The lease ended before the job did. Take it again and begin a new job." in page
    tasks.tick()
    assert Scan.objects.filter(job=job).count() == 0


def test_what_was_trained_is_proposed_after_signing_in_again(cast, job):
    jobs.fine_tune(job, epochs=1)
    train(job.pk)
    signed_in(cast.north_doctor).post("/accounts/logout/")
    browser = signed_in(cast.north_doctor)
    refused = browser.post(f"/api/v1/jobs/{job.pk}/propose", {}, content_type="application/json")
    assert (refused.status_code, refused.json()["code"]) == (409, "lease_lost")
    browser.post("/api/v1/lease")
    answer = browser.post(f"/api/v1/jobs/{job.pk}/propose", {}, content_type="application/json")
    assert (answer.status_code, answer.json()["state"]) == (200, "HELD")


def test_many_who_delete_the_same_scans_at_once_are_in_nobodys_way(job, caplog):
    with transaction():
        end_job(job, JobState.CANCELLED, actor="system:test", code="cancelled")
    at_once(20, lambda _: erase_quietly(job.pk))
    assert caplog.text == ""
    assert not Scan.objects.exists()
    assert job.pk not in vault.kept(1e12)


def test_a_jobs_page_says_until_when_and_what_became_of_the_proposal(cast, job):
    browser = signed_in(cast.north_doctor)

    def page():
        return browser.get(f"/workbench/{job.pk}/").text

    assert "The lease ends <time" in page()
    # Whoever looks on has no lease to lose.
    assert "The lease ends <time" not in signed_in(cast.admin).get(f"/workbench/{job.pk}/").text
    jobs.fine_tune(job, epochs=1)
    train(job.pk)
    assert "lease" not in page().partition('id="main"')[2].partition('class="grid"')[0]
    lease.release(cast.north_doctor, by="holder")
    assert "You do not have the fine-tuning lease any more." in page()
    lease.take(cast.north_doctor)
    job.refresh_from_db()
    version, _ = jobs.propose(job)
    assert "The trained version waits for an administrator&#x27;s decision." in page()
    assert f'href="/models/{version.pk}/">Proposed by north_doctor</a>' in page()
    reject(version, actor=cast.admin.actor, reason="too few scans")
    assert "The trained version was rejected by an administrator." in page()
    assert "rejected by an admin: too few scans</a>" in page()


def test_a_published_proposal_has_its_number_on_the_jobs_page(cast, job):
    jobs.fine_tune(job, epochs=1)
    train(job.pk)
    job.refresh_from_db()
    publish_held(jobs.propose(job)[0], actor=cast.admin.actor)
    assert "was published as version 2." in signed_in(cast.north_doctor).get(f"/workbench/{job.pk}/").text
