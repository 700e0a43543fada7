"""The hub of the doctor's day: who works there, and what became of rounds and versions (see tests/flows/office.py)."""

# ruff: noqa: PLC0415 - in the test process, models must not be imported

from typing import Any

SYSTEM = "system:test"


def let_fine_tune(hospital: str) -> None:
    """Switch the workbench on for a hospital."""
    from apps.federation.models import Participation
    from apps.federation.pipeline.enrol import switch_workbench

    switch_workbench(Participation.objects.get(hospital__name=hospital), on=True, actor=SYSTEM)


def versions() -> list[dict[str, Any]]:
    """All versions, in the order in which they were made, with the number of the one that each was made from."""
    from apps.federation.models import ModelVersion

    found = ModelVersion.objects.select_related("parent").order_by("created_at")
    return [
        {
            "id": str(version.pk),
            "number": version.number,
            "state": version.state,
            "source": version.source,
            "digest": version.digest,
            "parent": version.parent and version.parent.number,
            "decided_by": version.decided_by,
        }
        for version in found
    ]


def rounds() -> list[dict[str, Any]]:
    """All rounds, oldest first: how each ended, what it started from, and what each report was measured on."""
    from apps.federation.models import Round

    return [
        {
            "number": round_.number,
            "attempt": round_.attempt,
            "state": round_.state,
            "reason": round_.reason,
            "base": round_.base.number,
            "digest": round_.base.digest,
            "updates": {update.agent.hospital.name: update.state for update in round_.updates.all()},
            "measured": {
                one.agent.hospital.name: one.version.digest for one in round_.evaluations.all() if one.kind == "TRAIN"
            },
        }
        for round_ in Round.objects.select_related("base").order_by("opened_at")
    ]


def newest_job() -> dict[str, Any]:
    """The newest job, and what is left of its scans."""
    from django.conf import settings

    from apps.finetune.models import Job, Scan

    job = Job.objects.latest("created_at")
    folder = settings.UPLOAD_DIR
    return {
        "state": job.state,
        "epochs": [told["epoch"] for told in job.progress.get("epochs", [])],
        "rows": Scan.objects.filter(job=job).count(),
        "files": [path.name for path in folder.rglob("*") if str(job.pk) in str(path)],
    }
