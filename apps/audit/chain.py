"""How entries become a chain: their canonical bytes, their hashes, and the append."""

import hashlib
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

from django.db.models import F

from apps.audit.models import AuditEntry, AuditHead

Fact = str | int | float | bool | None
MAX_TEXT = 200
# Of every entry's body.
FIELDS = frozenset(
    {"v", "seq", "prev", "ts_us", "action", "actor", "object", "objects", "outcome", "visibility", "facts"}
)


@dataclass(frozen=True)
class Draft:
    """What is known of an entry before its place in the chain is."""

    action: str
    actor: str
    object: str
    objects: tuple[str, ...]
    outcome: str
    visibility: str
    facts: Mapping[str, Fact]


def check_facts(facts: Mapping[str, object]) -> dict[str, Fact]:
    """Return the facts if each is a short scalar: the audit holds ids, codes and counts, no documents and no free text.

    Raises TypeError or ValueError, which is a mistake in the calling code.
    """
    checked: dict[str, Fact] = {}
    for name, value in facts.items():
        if isinstance(value, str):
            if len(value) > MAX_TEXT:
                raise ValueError(f"The fact {name} has {len(value)} characters; the audit takes at most {MAX_TEXT}.")
            # A lone surrogate, which JSON from outside may carry, has no UTF-8 form.
            checked[name] = value.encode(errors="replace").decode()
        elif isinstance(value, float):
            if not math.isfinite(value):
                raise ValueError(f"The fact {name} is not a finite number.")
            checked[name] = value
        elif value is None or isinstance(value, int):
            checked[name] = value
        else:
            raise TypeError(
                f"The fact {name} is a {type(value).__name__}; the audit takes text, numbers, booleans and None."
            )
    return checked


def canonical(body: Mapping[str, object]) -> bytes:
    """JSON with sorted keys, no blanks, UTF-8: one spelling for one content."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def entry_hash(body: bytes) -> str:
    """SHA-256 over 0x00 and the body, in hex: the leaf hash of RFC 6962, so that a tree can be built over the chain."""
    return hashlib.sha256(b"\x00" + body).hexdigest()


def append(drafts: list[Draft]) -> None:
    """Append entries inside the open transaction, as its last statements.

    The head row is updated before it is read: on PostgreSQL that takes its lock until the commit, on SQLite the
    transaction already holds the only write lock (IMMEDIATE). So `seq` is the order of commits.
    """
    AuditHead.objects.filter(pk=1).update(seq=F("seq") + len(drafts))
    head = AuditHead.objects.get(pk=1)
    previous = head.entry_hash
    # After the lock: a time taken before it would let a later entry carry an earlier time.
    now_us = time.time_ns() // 1000
    entries = []
    for seq, draft in enumerate(drafts, start=head.seq - len(drafts) + 1):
        body = canonical(
            {
                "v": 1,
                "seq": seq,
                "prev": previous,
                "ts_us": now_us,
                "action": draft.action,
                "actor": draft.actor,
                "object": draft.object,
                "objects": list(draft.objects),
                "outcome": draft.outcome,
                "visibility": draft.visibility,
                "facts": dict(draft.facts),
            }
        )
        digest = entry_hash(body)
        entries.append(
            AuditEntry(
                seq=seq,
                body=body,
                prev_hash=previous,
                entry_hash=digest,
                ts_us=now_us,
                actor=draft.actor,
                action=draft.action,
                object=draft.object,
                outcome=draft.outcome,
                visibility=draft.visibility,
            )
        )
        previous = digest
    AuditEntry.objects.bulk_create(entries)
    AuditHead.objects.filter(pk=1).update(entry_hash=previous)
