"""What a doctor has at the workbench: scans as files, and a job."""

import io
import zipfile
from typing import Any

import numpy as np
from django.core.files.uploadedfile import SimpleUploadedFile
from hub_client import HubClient

from apps.accounts.models import User
from apps.federation.models import Federation, Participation
from apps.federation.pipeline.enrol import switch_workbench
from apps.federation.pipeline.incoming import Added
from apps.finetune.models import Job
from apps.finetune.pipeline import jobs, lease, scans
from hospintel_core import phantoms
from hospintel_core.architectures import CLASSES

SIZE = 48


def png(label: int, number: int, size: int = SIZE) -> bytes:
    """A phantom's file."""
    made = io.BytesIO()
    phantoms.draw(label, np.random.default_rng((7, label, number)), size).save(made, "PNG")
    return made.getvalue()


def zipped(per_class: int, classes: tuple[str, ...] = CLASSES) -> bytes:
    """A zip file with class folders."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name in classes:
            for number in range(per_class):
                archive.writestr(f"{name}/{number}.png", png(CLASSES.index(name), number))
    return made.getvalue()


def switch_on(hospital: Any) -> None:
    """Let a hospital's doctors use the workbench."""
    switch_workbench(Participation.objects.get(hospital=hospital), on=True, actor="system:test")


def begin(user: User) -> Job:
    """Take the lease and begin a job."""
    federation = Federation.objects.get()
    lease.take(user)
    return jobs.create(user, federation)


def fill(job: Job, per_class: int = 8) -> Added:
    """Bring scans of all classes."""
    return scans.add(job, [("scans.zip", io.BytesIO(zipped(per_class)))], label=None)


def send(client: HubClient, job: Job, *files: tuple[str, bytes], **fields: str) -> Any:
    """Bring scans over HTTP."""
    sent = [SimpleUploadedFile(name, data) for name, data in files]
    return client.post(f"/api/v1/jobs/{job.pk}/scans", {"file": sent, **fields})


def signed_in(user: User) -> HubClient:
    """A browser in which somebody is signed in."""
    client = HubClient()
    client.force_login(user)
    return client
