"""Scans on the hub under test, as only its own process can read them (see office.py)."""

# ruff: noqa: PLC0415 - in the test process, models must not be imported

ADMIN = "system:test"


def create_admin(username: str, password: str) -> str:
    """An administrator without a second factor; returns the username."""
    from apps.accounts.models import Role
    from apps.accounts.pipeline import create_person

    create_person(username, password, role=Role.ADMIN, actor=ADMIN)
    return username


def plain_scans() -> list[bytes]:
    """What is kept of the scans of all jobs and validation sets, without its seal."""
    from apps.federation.models import ValidationScan
    from apps.federation.pipeline.validation import SCANS
    from apps.finetune.models import Scan
    from apps.finetune.pipeline import vault

    found = [vault.read(scan.job_id, scan.pk) for scan in Scan.objects.all()]
    return found + [SCANS.read(scan.validation_set_id, scan.pk) for scan in ValidationScan.objects.all()]
