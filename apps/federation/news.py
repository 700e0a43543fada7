"""The newest events as sentences about people and hospitals, for one reader."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import BigAutoField
from django.utils import timezone

from apps.accounts.models import Hospital, User
from apps.audit.api import events_about, moment, newest_events
from apps.federation.models import Agent, Round, Update
from apps.federation.visibility import own_hospitals, visibilities
from apps.federation.words import refusal, sentence

# What nobody watching a run wants to read; the audit's own page has everything.
NOISE = frozenset(
    {
        "version.model_written",
        "version.exported",
        "version.candidate",
        "model_upload.reading",
        "version.alarm_figures",
        "update.counted",
        "update.consumed",
        "evaluation.counted",
        "evaluation.close",
        "round.evaluating",
        "round.erase",
        "key.create",
        "key.active",
        "version.seed",
        "first_admin.link",
        "command.run",
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
    return told([event for event in found if event["action"] not in NOISE][:count], user)


def of_round(user: User, round_: Round) -> list[News]:
    """Return what a person may see of what happened in a round, oldest first."""
    # An entry is made a moment after the time that its row carries.
    start, end = round_.opened_at - LEEWAY, (round_.evaluation_closed_at or round_.ended_at or timezone.now()) + LEEWAY
    own = events_about(f"round:{round_.pk}", start, end, visibilities=visibilities(user))
    return told([event for event in own if event["action"] not in NOISE], user)


LEEWAY = timedelta(seconds=10)


def told(events: list[dict[str, Any]], user: User) -> list[News]:
    """Return events as sentences for this reader, in their order."""
    names, hospitals = _names(events, named=own_hospitals(user) is None), _hospitals(events)
    return [
        News(
            event["seq"],
            moment(event["ts_us"]),
            names[event["actor"]],
            sentence(event["action"], event["facts"] | hospitals.get(event["object"], {}), event["outcome"]),
            _outcome(event),
        )
        for event in events
    ]


def _outcome(event: dict[str, Any]) -> str:
    """Return how an event ended, for people: what was refused through nobody's fault raises no alarm."""
    return str(event["outcome"]) if refusal(str(event["facts"].get("code", ""))).alarm else "ok"


def names_of(actors: Iterable[str], user: User) -> dict[str, str]:
    """Return what actors are called, for this reader."""
    return _names([{"actor": actor} for actor in actors], named=own_hospitals(user) is None)


def _hospitals(events: Sequence[dict[str, Any]]) -> dict[str, dict[str, str]]:
    """Return which hospital is meant, or whose update. Who takes part is no secret among members."""
    named = [event["object"].partition(":") for event in events]
    updates = Update.objects.filter(pk__in=_uuids(pk for kind, _, pk in named if kind == "update"))
    found = {f"update:{update.pk}": update.agent.hospital for update in updates.select_related("agent__hospital")}
    hospitals = Hospital.objects.filter(pk__in=_uuids(pk for kind, _, pk in named if kind == "hospital"))
    found |= {f"hospital:{hospital.pk}": hospital for hospital in hospitals}
    return {about: {"hospital": hospital.name} for about, hospital in found.items()}


def _names(events: Iterable[dict[str, Any]], *, named: bool) -> dict[str, str]:
    """Return what the actors are called; people have names for administrators only."""
    found: dict[str, str] = {}
    kinds: dict[str, set[str]] = {}
    for event in events:
        kind, _, identity = event["actor"].partition(":")
        kinds.setdefault(kind, set()).add(identity)
    for agent in Agent.objects.filter(pk__in=_uuids(kinds.get("agent", ()))).select_related("hospital"):
        found[agent.actor] = agent.hospital.name
    people = User.objects.filter(pk__in=[pk for pk in kinds.get("user", ()) if _is_key(pk)])
    for person in people:
        found[person.actor] = person.get_username() if named else _AS_ROLE[person.role]
    return {event["actor"]: found.get(event["actor"], _other(event["actor"])) for event in events}


def _uuids(texts: Iterable[str]) -> list[UUID]:
    """Return those that are ids: pages that tell what somebody wrote past the hub must not fail over it."""
    found = []
    for text in texts:
        with suppress(ValueError):
            found.append(UUID(text))
    return found


def _is_key(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= len(str(BigAutoField.MAX_BIGINT))


_AS_ROLE = {"admin": "An administrator", "doctor": "A doctor", "user": "A user"}


def _other(actor: str) -> str:
    kind = actor.partition(":")[0]
    return {"system": "The hub", "command": "The command line", "unknown": "An unknown caller"}.get(kind, actor)
