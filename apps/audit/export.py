"""The whole audit as lines of JSON that anybody can verify with tools/verify_audit_export.py. Format: docs/audit.md."""

import time
from collections.abc import Iterable, Iterator, Mapping

from apps.audit import checkpoints
from apps.audit.chain import canonical
from apps.audit.models import AuditEntry, AuditHead

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
    rows = AuditEntry.objects.filter(seq__lte=head.seq).order_by("seq").values_list("body", "entry_hash")
    for body, entry_hash in rows.iterator(chunk_size=CHUNK):
        # A body that somebody put there need not be UTF-8; the verifier shall see that it does not have its hash.
        yield _line(kind="entry", body=bytes(body).decode(errors="replace"), hash=entry_hash)
    count = 0
    for note in checkpoints.notes():
        if note.seq <= head.seq:
            count += 1
            yield note.to_line() + "\n"
    yield _line(kind="end", entries=head.seq, entry_hash=head.entry_hash, checkpoints=count)


def _line(**content: object) -> str:
    return canonical(content).decode() + "\n"
