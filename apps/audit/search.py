"""Find entries: by time, actor, action, object, outcome and code, as far as a reader may see them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BinaryField, BooleanField, F, Func, Q, Value
from django.db.models.sql.compiler import SQLCompiler

from apps.audit.models import AuditEntry, AuditEntryQuerySet

PAGE = 50
# What a 64-bit column holds: a longer number from outside is no entry's.
MAX_SEQ = 2**63 - 1


@dataclass(frozen=True)
class Wanted:
    """What is looked for; what is empty does not narrow.

    `actors` are whole names or kinds ("agent"); `action` and `object` are the beginning of one; `code` is whole.
    """

    start: datetime | None = None
    end: datetime | None = None
    actors: Sequence[str] | None = None
    action: str = ""
    object: str = ""
    outcome: str = ""
    code: str = ""


@dataclass(frozen=True)
class Found:
    """One page of entries, newest first, and where the pages beside it begin; None where there is none."""

    entries: list[AuditEntry]
    older: int | None
    newer: int | None


class _Holds(Func):
    """Whether a body holds these bytes.

    A body is canonical JSON: inside a text a quotation mark is escaped, so that `"code":"x"` is that fact alone.
    """

    function = "INSTR"
    template = "%(function)s(%(expressions)s) > 0"
    output_field = BooleanField()

    def __init__(self, needle: bytes) -> None:
        super().__init__(F("body"), Value(needle, output_field=BinaryField()))

    def as_postgresql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> tuple[str, Any]:
        return self.as_sql(compiler, connection, function="pg_catalog.position")


def find(
    wanted: Wanted, *, visibilities: list[str] | None, before: int | None = None, after: int | None = None
) -> Found:
    """Return a page of entries.

    Args:
        wanted: what they must be like.
        visibilities: what the reader may see; None for everything.
        before: only entries with a lower number: the next older page.
        after: only entries with a higher number: the next newer page.
    """
    every = _narrowed(AuditEntry.objects.all(), wanted)
    matching = every.visible_as(visibilities)
    if after is not None:
        # One more than is shown tells whether there are further ones.
        rows = every.filter(seq__gt=after).first_visible(PAGE + 1, visibilities, newest_first=False)
        entries, has_newer = rows[:PAGE][::-1], len(rows) > PAGE
        has_older = matching.filter(seq__lte=after).exists()
    else:
        within = every if before is None else every.filter(seq__lt=before)
        rows = within.first_visible(PAGE + 1, visibilities)
        entries, has_older = rows[:PAGE], len(rows) > PAGE
        has_newer = before is not None and matching.filter(seq__gte=before).exists()
    if not entries:
        return Found([], None, None)
    return Found(entries, entries[-1].seq if has_older else None, entries[0].seq if has_newer else None)


def _narrowed(entries: AuditEntryQuerySet, wanted: Wanted) -> AuditEntryQuerySet:
    if wanted.start:
        entries = entries.filter(ts_us__gte=_microseconds(wanted.start))
    if wanted.end:
        entries = entries.filter(ts_us__lt=_microseconds(wanted.end))
    if wanted.actors is not None:
        named = Q(actor__in=wanted.actors)
        for kind in wanted.actors:
            if ":" not in kind:
                named |= Q(actor__startswith=f"{kind}:")
        entries = entries.filter(named)
    if wanted.action:
        entries = entries.filter(action__startswith=wanted.action)
    if wanted.object:
        entries = entries.filter(_names(wanted.object))
    if wanted.outcome:
        entries = entries.filter(outcome=wanted.outcome)
    if wanted.code:
        entries = entries.filter(_Holds(b'"code":' + _quoted(wanted.code)))
    return entries


def _names(reference: str) -> Q:
    begins = Q(object__startswith=reference)
    # What an entry only names besides stands in its body, whole and in quotation marks. So does the hash before it:
    # who tries could find out with it what an entry says that is not theirs to see. It has no colon, and is not found.
    return begins | Q(_Holds(_quoted(reference))) if ":" in reference else begins


def _quoted(text: str) -> bytes:
    return json.dumps(text, ensure_ascii=False).encode(errors="replace")


def _microseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000)
