"""How far a job is: told to the sockets of its owner and of administrators as it happens, and to nobody else."""

import asyncio
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from bench import fill
from hub_socket import socket_of

from apps.finetune import queries
from apps.finetune.models import Job
from apps.finetune.pipeline import claim, jobs
from apps.finetune.states import JobState

SOON = 5.0
EPOCHS = [{"epoch": 1, "loss": 0.5, "accuracy": 0.75}, {"epoch": 2, "loss": 0.25, "accuracy": 1.0}]


@pytest.fixture
def job(job: Job) -> Job:
    fill(job)
    return job


def at_work(job: Job) -> claim.Claim:
    """What a worker does first."""
    jobs.fine_tune(job, epochs=3)
    held = claim.take(job.pk)
    assert held is not None
    held.move(JobState.PREPARING)
    return held


def test_what_is_told_of_a_job_is_what_its_page_says(job: Job):
    held = at_work(job)
    held.job.progress = {"prepared": 10, "of": 64}
    told = queries.told_of(held.job)
    assert (told["headline"], told["done"]) == ("The worker prepares the scans.", "10 of 64 images prepared")
    held.move(JobState.TRAINING)
    assert queries.told_of(held.job)["headline"] == "The worker trains."
    held.job.progress = {"epochs": EPOCHS}
    told = queries.told_of(held.job)
    assert told["headline"] == "The worker trains: epoch 2 of 3, loss 0.2500."
    assert (told["done"], told["value"], told["max"]) == ("2 of 3 epochs", 2, 3)


async def heard(socket: Any) -> list[dict[str, Any]]:
    """What a socket is told of progress until it is quiet."""
    found = []
    while not await socket.receive_nothing(timeout=1.0):
        message = await socket.receive_json_from(timeout=SOON)
        found += [message["progress"]] if "progress" in message else []
    return found


def test_progress_is_for_the_owner_and_administrators(hub: Any, cast: Any, job: Job, in_loop: Any):
    names = ("north_doctor", "admin", "south_doctor", "reader")
    sockets = {name: socket_of(getattr(cast, name)) for name in names}
    held = at_work(job)
    held.move(JobState.TRAINING)

    async def scene() -> dict[str, list[dict[str, Any]]]:
        for socket in sockets.values():
            assert (await socket.connect())[0]
        for count in (1, 2):
            await sync_to_async(held.tell)({"epochs": EPOCHS[:count]})
            await asyncio.sleep(0.6)
        seen = dict(zip(sockets, await asyncio.gather(*map(heard, sockets.values())), strict=True))
        for socket in sockets.values():
            await socket.disconnect()
        return seen

    before = len(hub.events())
    seen = in_loop(scene)
    assert {name: bool(told) for name, told in seen.items()} == {
        "north_doctor": True,
        "admin": True,
        "south_doctor": False,
        "reader": False,
    }
    for name in ("north_doctor", "admin"):
        assert seen[name][-1]["of"] == f"job:{job.pk}"
        assert seen[name][-1]["epochs"] == EPOCHS
        # What has not moved is not told again.
        assert len(seen[name]) == len({len(told["epochs"]) for told in seen[name]})
    # Nobody fills the audit by training.
    assert len(hub.events()) == before


def test_a_job_that_has_ended_is_told_of_no_more(job: Job):
    held = at_work(job)
    held.tell({"prepared": 1, "of": 2})
    assert list(queries.work()) == [f"job:{job.pk}"]
    jobs.cancel(Job.objects.get(pk=job.pk), actor="user:1")
    assert queries.work() == {}
