"""What the metrics read from the database: sums over everybody, each in one query."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db.models import Count, Min, QuerySet, Sum
from django.utils import timezone

from apps.audit.models import AuditHead, Checkpoint
from apps.federation.models import Agent, Attempt, Federation, ModelVersion, Round, Run, Update, ValidationSet
from apps.federation.states import AgentState, RoundState, UpdateState, ValidationState
from apps.finetune.models import Job, Lease, ModelUpload
from apps.finetune.states import MODEL_UPLOAD_LIVE, JobState, LeaseState

Rows = list[tuple[Any, ...]]


def _counted(rows: QuerySet[Any], *fields: str) -> Rows:
    return list(rows.values_list(*fields).order_by(*fields).annotate(Count("pk")))


def runs() -> Rows:
    """Return (federation, state, count)."""
    return _counted(Run.objects.all(), "federation", "state")


def rounds() -> Rows:
    """Return (federation, state, reason, count)."""
    return _counted(Round.objects.all(), "run__federation", "state", "reason")


def open_rounds() -> Rows:
    """Return (federation, state, seconds since it was opened) of each open round."""
    found = Round.objects.active().values_list("run__federation", "state", "opened_at")
    return [(federation, state, _ago(opened)) for federation, state, opened in found]


def updates() -> Rows:
    """Return (state, code, count, bytes) of the updates of all federations."""
    return list(
        Update.objects.values_list("state", "code").order_by("state", "code").annotate(Count("pk"), Sum("size"))
    )


def versions() -> Rows:
    """Return (federation, state, count)."""
    return _counted(ModelVersion.objects.all(), "federation", "state")


def current() -> Rows:
    """Return (federation, number of its current version)."""
    return list(Federation.objects.exclude(current=None).values_list("pk", "current__number"))


def alarms() -> Rows:
    """Return (federation, 1 or 0): whether the current version is worse than its parent."""
    found = Federation.objects.exclude(current=None).values_list("pk", "current__alarm")
    return [(federation, int(bool(alarm))) for federation, alarm in found]


def agents() -> Rows:
    """Return (federation, online | offline | revoked, count)."""
    found: Rows = []
    for federation in Federation.objects.all():
        seen = [
            "revoked"
            if agent.state == AgentState.REVOKED
            else "online"
            if agent.is_online(federation.seen_within)
            else "offline"
            for agent in Agent.objects.of(federation.pk).only("state", "last_seen")
        ]
        found += [(federation.pk, state, seen.count(state)) for state in ("online", "offline", "revoked")]
    return found


def waiting() -> list[tuple[str, int, float]]:
    """Return (kind, how many wait for a worker or are with one, seconds for which the oldest has)."""
    kinds: dict[str, tuple[QuerySet[Any], str]] = {
        "update": (Update.objects.filter(state=UpdateState.RECEIVED), "received_at"),
        "round": (Round.objects.filter(state=RoundState.AGGREGATING), "closed_at"),
        "validation": (ValidationSet.objects.filter(state=ValidationState.PREPARING), "created_at"),
        "job": (Job.objects.filter(state=JobState.QUEUED), "queued_at"),
        "model_upload": (ModelUpload.objects.filter(state__in=MODEL_UPLOAD_LIVE), "received_at"),
    }
    found = []
    for kind, (rows, since) in kinds.items():
        count, oldest = rows.aggregate(n=Count("pk"), oldest=Min(since)).values()
        found.append((kind, count, _ago(oldest) if oldest else 0.0))
    return found


def parked() -> Rows:
    """Return (step, how many of it are parked) of steps that an administrator has to have tried again."""
    return _counted(Attempt.objects.exclude(parked_at=None), "step")


def jobs() -> Rows:
    """Return (state, count)."""
    return _counted(Job.objects.all(), "state")


def model_uploads() -> Rows:
    """Return (state, count)."""
    return _counted(ModelUpload.objects.all(), "state")


def leases() -> Rows:
    """Return (federation, 1 or 0): whether somebody holds its lease."""
    held = set(Lease.objects.filter(state=LeaseState.HELD).values_list("federation", flat=True))
    return [(federation, int(federation in held)) for federation in Federation.objects.values_list("pk", flat=True)]


def audit() -> tuple[int, int, float]:
    """Return the number of the last entry and of the last signed one, and when that was (since 1970; 0: never)."""
    head = AuditHead.objects.values_list("seq", flat=True).first() or 0
    signed = Checkpoint.objects.order_by("-seq").values_list("seq", "ts_us").first()
    return (head, signed[0], signed[1] / 1e6) if signed else (head, 0, 0.0)


def folders() -> Iterator[tuple[str, Path]]:
    """Return the folders whose disk may fill."""
    yield "models", Path(settings.MODEL_DIR)
    yield "uploads", Path(settings.UPLOAD_DIR)
    yield "var", Path(settings.VAR)


def _ago(moment: datetime) -> float:
    return max(timedelta(), timezone.now() - moment).total_seconds()
