"""The newest events as sentences about people and hospitals, for one reader."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from apps.accounts.models import User
from apps.audit.api import newest_events
from apps.federation.models import Agent
from apps.federation.visibility import own_hospitals, visibilities
from apps.federation.words import sentence

# What nobody watching a run wants to read; the audit's own page has everything.
NOISE = frozenset(
    {
        "version.model_written",
        "version.candidate",
        "update.counted",
        "update.consumed",
        "evaluation.counted",
        "evaluation.close",
        "round.evaluating",
        "round.erase",
        "key.create",
        "login.ok",
        "login.end",
    }
)


@dataclass(frozen=True)
class News:
    """One event: who did what, when, and how it ended (`ok`, or the audit's other outcomes)."""

    seq: int
    moment: datetime
    who: str
    did: str
    outcome: str


def newest(user: User, count: int) -> list[News]:
    """Return the newest events that a person may see, newest first."""
    found = newest_events(5 * count, visibilities=visibilities(user))
    events = [event for event in found if event["action"] not in NOISE][:count]
    names = _names(events, named=own_hospitals(user) is None)
    return [
        News(
            event["seq"],
            datetime.fromtimestamp(event["ts_us"] / 1e6, UTC),
            names[event["actor"]],
            sentence(event["action"], event["facts"]),
            event["outcome"],
        )
        for event in events
    ]


def _names(events: Iterable[dict[str, Any]], *, named: bool) -> dict[str, str]:
    """Return what the actors are called; people have names for administrators only."""
    found: dict[str, str] = {}
    kinds: dict[str, set[str]] = {}
    for event in events:
        kind, _, identity = event["actor"].partition(":")
        kinds.setdefault(kind, set()).add(identity)
    for agent in Agent.objects.filter(pk__in=kinds.get("agent", ())).select_related("hospital"):
        found[agent.actor] = agent.hospital.name
    people = User.objects.filter(pk__in=[pk for pk in kinds.get("user", ()) if pk.isdigit()])
    for person in people:
        found[person.actor] = person.get_username() if named else _AS_ROLE[person.role]
    return {event["actor"]: found.get(event["actor"], _other(event["actor"])) for event in events}


_AS_ROLE = {"admin": "An administrator", "doctor": "A doctor", "user": "A user"}


def _other(actor: str) -> str:
    kind = actor.partition(":")[0]
    return {"system": "The hub", "unknown": "An unknown caller"}.get(kind, actor)
