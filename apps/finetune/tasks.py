"""What the workers and the tick do here."""

import time
from functools import partial
from uuid import UUID

from django.conf import settings

from apps.audit.api import on_commit
from apps.federation.pipeline import attempts
from apps.federation.tasks import enqueue
from apps.finetune.pipeline import claim, finish, jobs, propose_done, upload_model
from apps.finetune.pipeline import train as training
from apps.finetune.pipeline.lease import expire_leases
from hospintel_site.celery import hand_over, hub_task

# Their owner is told that it has failed, and begins anew: nothing waits for an administrator.
attempts.KINDS["train"] = attempts.Kind("job", claim.is_waiting, claim.give_up)
attempts.KINDS["propose_job"] = attempts.Kind("job", propose_done.is_waiting, propose_done.give_up)
attempts.KINDS["read_model"] = attempts.Kind("model_upload", upload_model.is_waiting, upload_model.give_up)


def tick() -> None:
    """Do what time does: end leases and jobs whose time is over, have done again what a worker died over."""
    expire_leases()
    jobs.end_old_jobs(settings.JOB_HOURS)
    for pk in {*claim.due(), *(lost.id for lost in attempts.due({"train"}))}:
        have_trained(pk)
    for pk in {*propose_done.due(), *(lost.id for lost in attempts.due({"propose_job"}))}:
        have_proposed(pk)
    for pk in finish.ended():
        finish.erase_quietly(pk)
    for pk in {*upload_model.due(), *(lost.id for lost in attempts.due({"read_model"}))}:
        have_model_read(pk)


def sweep() -> None:
    """Delete, once a minute, what processes that died have left among the uploads."""
    for pk in finish.left_over(time.time()):
        finish.erase_quietly(pk)
    upload_model.tidy()


@hub_task(queue="default", name="finetune.read_model")
def read_model(*, pk: str) -> None:
    """Read an uploaded model."""
    enqueue(attempts.attempt("read_model", UUID(pk), upload_model.read))


def have_model_read(pk: UUID) -> None:
    """Have a worker read an uploaded model, once the caller's transaction has committed."""
    on_commit(partial(hand_over, read_model, pk=str(pk)))


# The tick cancels a job that takes longer, minutes before.
@hub_task(queue="training", name="finetune.train", time_limit=settings.LONGEST_JOB_SECONDS)
def train(*, pk: str) -> None:
    """Do a job, and have proposed what it trained if its owner asked for that."""
    job_id = UUID(pk)
    attempts.attempt("train", job_id, training.train)
    if propose_done.is_waiting(job_id):
        have_proposed(job_id)


def have_trained(pk: UUID) -> None:
    """Have a worker do a job, once the caller's transaction has committed."""
    on_commit(partial(hand_over, train, pk=str(pk)))


@hub_task(queue="default", name="finetune.propose")
def propose(*, pk: str) -> None:
    """Propose what a job trained."""
    enqueue(attempts.attempt("propose_job", UUID(pk), propose_done.propose_done))


def have_proposed(pk: UUID) -> None:
    """Have a worker propose what a job trained, once the caller's transaction has committed."""
    on_commit(partial(hand_over, propose, pk=str(pk)))
