"""Does the chain hold? Reads entries only; needs no secret."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from apps.audit.chain import FIELDS, canonical, entry_hash
from apps.audit.models import GENESIS, AuditEntry, AuditHead

_COLUMNS = ("seq", "body", "prev_hash", "entry_hash", "ts_us", "actor", "action", "object", "outcome", "visibility")
_COPIES = ("ts_us", "actor", "action", "object", "outcome", "visibility")


@dataclass(frozen=True)
class VerifyResult:
    """`checked` entries hold; if not `ok`, `bad_seq` is the first number that does not, and `reason` says why."""

    ok: bool
    checked: int
    bad_seq: int | None = None
    reason: str = ""


def verify(from_seq: int | None = None, to_seq: int | None = None) -> VerifyResult:
    """Check numbers, links, hashes and copied columns of the entries in [from_seq, to_seq] (default: all of them).

    Without `to_seq` the end must also be where the head row says: that finds entries cut off at the end. (Somebody who
    can rewrite the whole database can rewrite the whole chain: only checkpoints kept elsewhere find that.)
    """
    start = max(from_seq or 1, 1)
    # Read before the entries, so that entries appended meanwhile are not taken for an error.
    head = AuditHead.objects.filter(pk=1).first()
    if head is None:
        return VerifyResult(ok=False, checked=0, bad_seq=1, reason="the head row is missing")
    if start == 1 and (early := AuditEntry.objects.filter(seq__lt=1).order_by("seq").first()) is not None:
        return VerifyResult(ok=False, checked=0, bad_seq=early.seq, reason="the entry stands before the first")
    end = head.seq if to_seq is None else to_seq
    previous, checked = _link_before(start), 0
    for expected, row in enumerate(_rows(start, end), start=start):
        reason = _problem(row, expected, previous)
        if reason:
            return VerifyResult(ok=False, checked=checked, bad_seq=expected, reason=reason)
        previous, checked = row["entry_hash"], checked + 1
    following = start + checked
    if following <= end:
        return VerifyResult(ok=False, checked=checked, bad_seq=following, reason="the entry is missing")
    if to_seq is None and start <= end + 1:
        reason = _problem_at_head(head, previous)
        if reason:
            return VerifyResult(ok=False, checked=checked, bad_seq=max(head.seq, 1), reason=reason)
    return VerifyResult(ok=True, checked=checked)


def _rows(start: int, end: int) -> Iterator[dict[str, Any]]:
    rows = AuditEntry.objects.filter(seq__gte=start, seq__lte=end).order_by("seq").values(*_COLUMNS)
    yield from rows.iterator(chunk_size=2000)


def _link_before(start: int) -> str:
    if start == 1:
        return GENESIS
    before = AuditEntry.objects.filter(seq=start - 1).values_list("entry_hash", flat=True).first()
    return before if before is not None else ""


def _problem(row: dict[str, Any], expected: int, previous: str) -> str:  # noqa: PLR0911 - a list of checks
    if row["seq"] != expected:
        return "the entry is missing"
    body = bytes(row["body"])
    if entry_hash(body) != row["entry_hash"]:
        return "the body does not have the stored hash"
    try:
        content = json.loads(body)
        # One content has one spelling: no name twice, no 1.0 for 1.
        is_ours = content.keys() == FIELDS and type(content["seq"]) is int and canonical(content) == body
    except (ValueError, RecursionError, AttributeError):
        is_ours = False
    if not is_ours:
        return "the body is not of its form"
    if content["seq"] != expected:
        return "the body carries another number"
    if content["prev"] != previous or row["prev_hash"] != previous:
        return "the link to the entry before does not hold"
    for column in _COPIES:
        if content[column] != row[column]:
            return f"the column {column} differs from the body"
    return ""


def _problem_at_head(head: AuditHead, last_hash: str) -> str:
    if head.seq and head.entry_hash != last_hash:
        return "the head row has another hash than the last entry"
    if AuditEntry.objects.filter(seq__gt=head.seq).exists() and AuditHead.objects.filter(pk=1, seq=head.seq).exists():
        return "there are entries beyond the head row"
    return ""
