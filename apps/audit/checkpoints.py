"""Signed checkpoints of the chain. Format: docs/audit.md.

A chain alone cannot show that it was rewritten as a whole, or cut off at its end. A checkpoint can, if it was kept
elsewhere: by an administrator, in an export, or in the hub's own table, which triggers guard.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.db import IntegrityError

from apps.audit.models import AuditEntry, AuditHead, Checkpoint
from apps.audit.turns import writing
from apps.audit.verify import VerifyResult, verify
from hospintel_core.checkpoint import Note, body_of
from hospintel_core.errors import SignatureError

EVERY_ENTRIES = 256
EVERY_SECONDS = 60
Identities = Mapping[str, Ed25519PublicKey]
# Key id in hex, and what signs a body.
Signer = tuple[str, Callable[[bytes], bytes]]


class ChainBroken(Exception):  # noqa: N818 - the name says it
    """The chain does not hold, so that nothing may be signed over it."""

    def __init__(self, result: VerifyResult) -> None:
        super().__init__(f"entry {result.bad_seq}: {result.reason}")
        self.result = result


def notes(after: int = 0, limit: int | None = None) -> list[Note]:
    """Return the hub's own checkpoints beyond an entry, oldest first."""
    return [note_of(row) for row in Checkpoint.objects.filter(seq__gt=after).order_by("seq")[:limit]]


def newest_notes(limit: int) -> list[Note]:
    """Return the newest checkpoints, oldest first."""
    return [note_of(row) for row in Checkpoint.objects.order_by("-seq")[:limit]][::-1]


def newest() -> Note | None:
    """Return the newest checkpoint."""
    return next(iter(newest_notes(1)), None)


def note_of(row: Checkpoint) -> Note:
    """Return a row of the table as a checkpoint. One that is not of our form is of no key."""
    body, signature = bytes(row.body), bytes(row.signature)
    try:
        note = Note.of(body, signature)
    except (ValueError, RecursionError):
        note = None
    if note is None or note.seq != row.seq:
        # Somebody has put it there past the hub: it is of no key, so that every check finds it and none ends over it.
        return Note(row.seq, "", 0, "", body, signature)
    return note


def is_due() -> bool:
    """Return whether enough has happened since the newest checkpoint: 256 entries, or anything in 60 seconds."""
    head, last = AuditHead.objects.get(pk=1), newest()
    new = head.seq - (last.seq if last else 0)
    # One beyond the end is none of ours: `make` says so.
    return new >= EVERY_ENTRIES or (new != 0 and (last is None or _now_us() - last.ts_us >= EVERY_SECONDS * 1_000_000))


def make(signer: Signer) -> Note | None:
    """Sign where the chain stands now, unless a checkpoint stands there already. Returns the newest one.

    Nothing is signed that contradicts what was signed before: the newest checkpoint must still be true, and every entry
    since then must hold.

    Raises:
        ChainBroken: it is not, or one does not.
    """
    last = newest()
    start = last.seq if last else 0
    head = AuditHead.objects.get(pk=1)
    if head.seq == start:
        return last
    if last is not None and _hash_at(last.seq) != last.entry_hash:
        raise ChainBroken(_contradiction(last, [last]))
    result = verify(start + 1, head.seq)
    if not result.ok:
        raise ChainBroken(result)
    kid, sign = signer
    entry_hash, now = _hash_at(head.seq) or "", _now_us()
    body = body_of(head.seq, entry_hash, now, kid)
    note = Note(head.seq, entry_hash, now, kid, body, sign(body))
    # Another process may have signed the same place first: both say the same, and one is enough.
    with suppress(IntegrityError), writing():
        Checkpoint.objects.create(seq=note.seq, body=note.body, signature=note.signature, ts_us=note.ts_us)
    return newest()


def check(kept: Iterable[Note], identities: Identities) -> VerifyResult:
    """Check that each checkpoint is signed by one of these identities and that the chain still says what it says.

    Returns the first contradiction; `checked` counts checkpoints.
    """
    ordered = sorted(kept, key=lambda note: note.seq)
    for count, note in enumerate(ordered):
        reason = _signature_problem(note, identities)
        if reason:
            return VerifyResult(ok=False, checked=count, bad_seq=note.seq, reason=reason)
        if _hash_at(note.seq) != note.entry_hash:
            return _contradiction(note, ordered[: count + 1])
    return VerifyResult(ok=True, checked=len(ordered))


def verify_with(
    kept: Iterable[Note], identities: Identities, from_seq: int | None = None, to_seq: int | None = None
) -> tuple[VerifyResult, VerifyResult]:
    """Check the chain as `verify` does, and the hub's own and the kept checkpoints against it.

    Where the chain breaks, checkpoints beyond that place say nothing new about it, and are left out.
    """
    chain = verify(from_seq, to_seq)
    every = [*notes(), *kept]
    if chain.bad_seq is not None:
        every = [note for note in every if note.seq < chain.bad_seq]
    return chain, check(every, identities)


def _signature_problem(note: Note, identities: Identities) -> str:
    key = identities.get(note.kid)
    if key is None:
        return "the checkpoint is signed by no identity of this hub"
    try:
        note.verify(key)
    except SignatureError:
        return "the checkpoint's signature does not hold"
    return ""


def is_signed(note: Note, identities: Identities) -> bool:
    """Return whether one of these identities has signed a checkpoint."""
    return not _signature_problem(note, identities)


def _contradiction(note: Note, up_to: list[Note]) -> VerifyResult:
    """Name the first entry that may differ: the one after the last checkpoint that still holds."""
    head = AuditHead.objects.filter(pk=1).values_list("seq", flat=True).first() or 0
    agreed = len(up_to) - 1
    if note.seq > head:
        reason = f"a checkpoint knows entries up to {note.seq}"
        return VerifyResult(ok=False, checked=agreed, bad_seq=head + 1, reason=reason)
    # Two may stand at one place, and say two things of it.
    first = min(up_to[-2].seq + 1, note.seq) if agreed else 1
    reason = f"entries {first} to {note.seq} are not those of a checkpoint"
    return VerifyResult(ok=False, checked=agreed, bad_seq=first, reason=reason)


def _hash_at(seq: int) -> str | None:
    return AuditEntry.objects.filter(pk=seq).values_list("entry_hash", flat=True).first()


def _now_us() -> int:
    return time.time_ns() // 1000
