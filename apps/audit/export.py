"""The whole audit as lines of JSON that anybody can verify with tools/verify_audit_export.py. Format: docs/audit.md."""

import time
from collections.abc import Iterable, Iterator, Mapping

from apps.audit import checkpoints
from apps.audit.chain import canonical
from apps.audit.models import AuditEntry, AuditHead
from hospintel_core.checkpoint import Note

CHUNK = 2000


def lines(identity_chain: Iterable[Mapping[str, str]]) -> Iterator[str]:
    """Yield the export line by line: head, every entry as it was hashed, every checkpoint, end.

    It ends where the chain ended when it was begun; what is appended meanwhile is not in it.

    Args:
        identity_chain: the hub's identities as JSON types, newest first.
    """
    head = AuditHead.objects.get(pk=1)
    yield _line(
        kind="head", v=1, entries=head.seq, exported_us=time.time_ns() // 1000, identities=[*map(dict, identity_chain)]
    )
    for body, entry_hash in _entries(head.seq):
        # A body that somebody put there need not be UTF-8; the verifier shall see that it does not have its hash.
        yield _line(kind="entry", body=bytes(body).decode(errors="replace"), hash=entry_hash)
    count = 0
    for note in _notes(head.seq):
        count += 1
        yield note.to_line() + "\n"
    yield _line(kind="end", entries=head.seq, entry_hash=head.entry_hash, checkpoints=count)


# Both ask anew for each piece: a cursor that stays open for as long as somebody downloads would hold a connection, and
# on SQLite keep the write-ahead log from being folded back.
def _entries(end: int) -> Iterator[tuple[bytes | memoryview, str]]:
    # What stands before the first entry has been put there: it comes along, and the verifier finds it.
    after = -(2**63)
    while True:
        rows = AuditEntry.objects.filter(seq__gt=after, seq__lte=end).order_by("seq")
        piece = list(rows.values_list("seq", "body", "entry_hash")[:CHUNK])
        yield from ((body, entry_hash) for _, body, entry_hash in piece)
        if len(piece) < CHUNK:
            return
        after = piece[-1][0]


def _notes(end: int) -> Iterator[Note]:
    after = 0
    while piece := checkpoints.notes(after, CHUNK):
        for note in piece:
            if note.seq > end:
                return
            yield note
        after = piece[-1].seq


def _line(**content: object) -> str:
    return canonical(content).decode() + "\n"
