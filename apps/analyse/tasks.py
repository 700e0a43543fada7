"""What the workers do here, and what they have ready."""

from functools import partial
from typing import Any, Final
from uuid import UUID

from apps.analyse.pipeline import read, warm
from apps.audit.api import on_commit
from hospintel_site.celery import app, hand_over, hub_task

QUEUE: Final = "default"


def warm_up(**_: Any) -> None:
    """Have a process that will read scans load the model: in the process itself, because a loaded one is not forked."""
    if QUEUE in app.amqp.queues.consume_from:
        warm.warm_beside()


@hub_task(queue=QUEUE, name="analyse.read_scan")
def read_scan(*, pk: str) -> None:
    """Read the scan of a reading."""
    read.read(UUID(pk))


def have_scan_read(pk: UUID) -> None:
    """Have a worker read a scan, once the caller's transaction has committed."""
    on_commit(partial(hand_over, read_scan, pk=str(pk)))
