"""Many agents at once, and the hub's rows of what they sent; runs in the administrator's process, as office does."""

# ruff: noqa: PLC0415 - in the test process, models must not be imported

from typing import Any

import office

from tools import stand_in
from tools.stand_in import StandIn

A_HOSPITAL = 50


def enrol(slug: str, count: int) -> list[StandIn]:
    """Make a federation whose rounds stay open for an hour, and enrol so many agents with the real pipeline."""
    from apps.accounts.pipeline import create_hospital
    from apps.federation.pipeline import bootstrap
    from apps.federation.pipeline import enrol as pipeline

    limits = {"min_updates": 1, "grace": 3600, "deadline": 3600}
    federation = bootstrap.ensure_federation(slug, architecture="pixels-head16", **limits)
    found: list[StandIn] = []
    while len(found) < count:
        hospital = create_hospital(f"{slug} {len(found)}", actor=office.ADMIN)
        pipeline.join(federation, hospital, actor=office.ADMIN)
        seats = range(min(A_HOSPITAL, count - len(found)))
        found += [stand_in.enrol(hospital, actor=office.ADMIN) for _ in seats]
    return found


def kept(round_id: str) -> list[tuple[str, str, str]]:
    """Agent, digest and state of each row that the hub has of a round."""
    from apps.federation.models import Update

    rows = Update.objects.filter(round=round_id).order_by("agent").values_list("agent", "digest", "state")
    return [(str(agent), digest, state) for agent, digest, state in rows]


def times(run_id: str) -> list[dict[str, Any]]:
    """Of each round that has ended: seconds from its opening to its end, and how many that was past the deadline."""
    from datetime import timedelta

    from apps.federation.models import Round

    found = []
    ended = Round.objects.filter(run=run_id, ended_at__isnull=False)
    for round_ in ended.select_related("run__federation").order_by("opened_at"):
        # A round that failed before any update came in has no deadline that it could be late for.
        deadline = (round_.first_accepted_at or round_.ended_at) + timedelta(seconds=round_.run.federation.deadline)
        found.append(
            {
                "number": round_.number,
                "seconds": (round_.ended_at - round_.opened_at).total_seconds(),
                "late": (round_.ended_at - deadline).total_seconds(),
            }
        )
    return found
