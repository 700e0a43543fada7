"""The audit as an event feed: entries in the order of their commits."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from apps.audit.models import AuditEntry

MAX_EVENTS = 500
MAX_LOOKED_AT = 10_000
_COLUMNS = ("seq", "ts_us", "action", "actor", "object", "outcome", "visibility")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TYPES = {**dict.fromkeys(_COLUMNS, str), "seq": int, "ts_us": int, "objects": list, "facts": dict}


def events_after(seq: int, limit: int = 100, *, visibilities: list[str] | None = None) -> list[dict[str, Any]]:
    """Return up to `limit` (at most 500) events with a higher number than `seq`, oldest first.

    Args:
        seq: the last number that the caller has seen; 0 for the start.
        limit: how many at most.
        visibilities: what the caller may see; None for everything.

    Returns:
        One dict for each: seq, ts_us, action, actor, object, objects, outcome, visibility, facts.

    """
    rows = AuditEntry.objects.visible_as(visibilities).filter(seq__gt=seq).order_by("seq")[: min(limit, MAX_EVENTS)]
    return [as_event(entry) for entry in rows]


def newest_events(limit: int, *, visibilities: list[str] | None = None) -> list[dict[str, Any]]:
    """Return the newest events (at most 500) that a caller with these visibilities may see, newest first."""
    rows = AuditEntry.objects.all().first_visible(min(limit, MAX_EVENTS), visibilities)
    return [as_event(entry) for entry in rows]


def events_about(
    reference: str, start: datetime, end: datetime, *, visibilities: list[str] | None = None
) -> list[dict[str, Any]]:
    """Return the newest events (at most 500) from `start` to `end` about an object that a caller may see, oldest first.

    `reference` is `<kind>:<id>`, the `object` of an entry or among its `objects`. Of a very long time the newest 10,000
    entries are looked through.
    """
    span = (int(start.timestamp() * 1e6), int(end.timestamp() * 1e6))
    found: list[dict[str, Any]] = []
    rows = AuditEntry.objects.visible_as(visibilities).filter(ts_us__range=span).order_by("-seq")
    for entry in rows[:MAX_LOOKED_AT].iterator(chunk_size=MAX_EVENTS):
        event = as_event(entry)
        if reference == event["object"] or reference in event["objects"]:
            found.append(event)
        if len(found) == MAX_EVENTS:
            break
    return found[::-1]


def as_event(entry: AuditEntry) -> dict[str, Any]:
    """Return the public form of one entry: its body without the chain's own fields.

    Of a body that is not of our form, which somebody has put there past the hub, the columns are told: whoever looks
    at it must be able to.
    """
    copies = {column: getattr(entry, column) for column in _COLUMNS}
    try:
        body = json.loads(bytes(entry.body))
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict) or any(type(body.get(name)) is not kind for name, kind in _TYPES.items()):
        return {**copies, "objects": [], "facts": {}}
    return {name: value for name, value in body.items() if name not in {"v", "prev"}} | {"seq": entry.seq}


def moment(ts_us: int) -> datetime:
    """Return a time of the audit, in microseconds since 1970, UTC; one that no calendar has as the first or last."""
    try:
        return _EPOCH + timedelta(microseconds=ts_us)
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC) if ts_us < 0 else datetime.max.replace(tzinfo=UTC)
