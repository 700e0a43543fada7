"""What the workers do here."""

from functools import partial
from uuid import UUID

from apps.analyse.pipeline import read
from apps.audit.api import on_commit
from hospintel_site.celery import hub_task


@hub_task(queue="default", name="analyse.read_scan")
def read_scan(*, pk: str) -> None:
    """Read the scan of a reading."""
    read.read(UUID(pk))


def have_scan_read(pk: UUID) -> None:
    """Have a worker read a scan, once the caller's transaction has committed."""
    on_commit(partial(read_scan.apply_async, kwargs={"pk": str(pk)}))
