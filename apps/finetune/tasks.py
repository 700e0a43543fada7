"""What the workers and the tick do here."""

from functools import partial
from uuid import UUID

from apps.audit.api import on_commit
from apps.federation.tasks import enqueue
from apps.finetune.pipeline import upload_model
from apps.finetune.pipeline.lease import expire_leases
from hospintel_site.celery import hub_task


def tick() -> None:
    """Do what time does: end the leases whose time is over, have uploads read whose worker died."""
    expire_leases()
    for pk in upload_model.due():
        have_model_read(pk)
    upload_model.tidy()


@hub_task(queue="default", name="finetune.read_model")
def read_model(*, pk: str) -> None:
    """Read an uploaded model."""
    enqueue(upload_model.read(UUID(pk)))


def have_model_read(pk: UUID) -> None:
    """Have a worker read an uploaded model, once the caller's transaction has committed."""
    on_commit(partial(read_model.apply_async, kwargs={"pk": str(pk)}))
