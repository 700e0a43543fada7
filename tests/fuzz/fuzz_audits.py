"""What is read of the audit: kept checkpoints, entries of a database that somebody changed, whole exports."""

import base64
import contextlib
import io
import json
import sys
from unittest import mock

import django
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fuzz_parsers import Parser, own_folder, text_of

from hospintel_core import checkpoint, identity, signing
from hospintel_core.checkpoint import Note
from tools import verify_audit_export
from tools.verify_audit_export import ODD, Export, ExportError

django.setup()

from apps.audit import chain, verify  # noqa: E402 - its rows are models
from apps.audit.models import GENESIS  # noqa: E402

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KID = signing.key_id(KEY.public_key()).hex()
HEAD = {"kind": "head", "v": 1, "identities": [identity.Link(KEY.public_key(), b"", b"").to_wire()]}
FILE = own_folder() / "export.jsonl"


def entry(seq: int, previous: str) -> bytes:
    return chain.canonical(
        {
            "v": 1,
            "seq": seq,
            "prev": previous,
            "ts_us": 1_800_000_000_000_000,
            "action": "test.done",
            "actor": "user:1",
            "object": "x:1",
            "objects": ["x:1"],
            "outcome": "ok",
            "visibility": "all",
            "facts": {"number": seq},
        }
    )


def note(seq: int, entry_hash: str) -> str:
    body = checkpoint.body_of(seq, entry_hash, 1_800_000_000_000_000, KID)
    return Note.of(body, signing.sign(signing.DOMAIN_CHECKPOINT, body, KEY)).to_line()


def export() -> bytes:
    lines, last = [], GENESIS
    for seq in (1, 2, 3):
        body = entry(seq, last)
        last = chain.entry_hash(body)
        lines.append({"kind": "entry", "body": body.decode(), "hash": last})
    head = HEAD | {"entries": 3}
    end = {"kind": "end", "entries": 3, "entry_hash": last, "checkpoints": 1}
    texts = [json.dumps(line) for line in (head, *lines)]
    return "\n".join([*texts, note(3, last), json.dumps(end)]).encode()


def read_export(data: bytes) -> None:
    """As the tool does, without the command line: what it makes of the lines, and then of the checkpoints."""
    try:
        found = Export(iter(io.TextIOWrapper(io.BytesIO(data), "utf-8")), "")
    except (UnicodeDecodeError, ExportError, *ODD):
        return
    assert found.broken is None or str(found.broken)
    assert found.check(found.checkpoints) is None or found.checkpoints


def read_export_file(data: bytes) -> None:
    """The tool says of each file whether it holds, or that it is no export: 0, 1 or 2, and never a traceback."""
    FILE.write_bytes(data)
    said = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
    with mock.patch.object(sys, "argv", ["verify", str(FILE)]), said[0], said[1]:
        assert verify_audit_export.main() in {0, 1, 2}


def read_rehashed(data: bytes) -> None:
    """An export whose entries' hashes are right, whatever is in them."""
    bodies = [part.decode("utf-8", "replace") for part in data.split(b"\n")]
    head = HEAD | {"entries": len(bodies)}
    lines = [{"kind": "entry", "body": body, "hash": chain.entry_hash(body.encode())} for body in bodies]
    read_export("\n".join(json.dumps(line) for line in (head, *lines)).encode())


def read_note(data: bytes) -> None:
    found = Note.from_line(text_of(data))
    assert Note.from_line(found.to_line()) == found


def read_entry(data: bytes) -> None:
    """A row whose hash is right: what is in its body is looked at only then."""
    copies = {"ts_us": 0, "actor": "", "action": "", "object": "", "outcome": "", "visibility": ""}
    row = {"seq": 1, "body": data, "prev_hash": GENESIS, "entry_hash": chain.entry_hash(data), **copies}
    assert verify._problem(row, 1, GENESIS)


def entries() -> list[bytes]:
    first = entry(1, GENESIS)
    return [first, first + b"\n" + entry(2, chain.entry_hash(first))]


FAMILY = {
    "checkpoint": Parser(read_note, (ValueError,), lambda: [note(3, "b" * 64).encode()]),
    "export": Parser(read_export, (), lambda: [export()]),
    "file of an export": Parser(read_export_file, (), lambda: [export(), base64.b64encode(export())]),
    "export with hashes that hold": Parser(read_rehashed, (), entries),
    "entry": Parser(read_entry, (), lambda: [entry(1, GENESIS)]),
}
