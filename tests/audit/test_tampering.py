"""A thousand ways to rewrite history, each found, and the first entry that does not hold named."""

import dataclasses
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import connection

from apps.audit import checkpoints, export, guards
from apps.audit.api import record, transaction
from apps.audit.chain import canonical, entry_hash
from apps.audit.models import GENESIS, AuditEntry, AuditHead, Checkpoint
from hospintel_core import identity, signing

pytestmark = pytest.mark.django_db
TOOL = Path(__file__).resolve().parents[2] / "tools" / "verify_audit_export.py"
LENGTH, EVERY = 300, 50
# PostgreSQL keeps what a transaction has deleted: each time is slower than the one before.
TIMES, STANDALONE = (1000 if connection.vendor == "sqlite" else 60), 20
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KID = signing.key_id(KEY.public_key()).hex()
IDENTITIES = {KID: KEY.public_key()}
CHAIN = [identity.Link(KEY.public_key(), b"", b"").to_wire()]
COPIES = ("ts_us", "actor", "action", "object", "outcome", "visibility")


@dataclasses.dataclass
class Log:
    """The table as a list, to be tampered with, and what an administrator kept elsewhere."""

    rows: list[AuditEntry]
    kept: checkpoints.Note
    head: tuple[int, str] = (0, "")
    kept_own: int = LENGTH


def open_wide():
    """Take away what the database itself would refuse: whoever owns the file can."""
    guards.remove(connection)
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA ignore_check_constraints = ON")
        else:
            cursor.execute("ALTER TABLE audit_auditentry DROP CONSTRAINT audit_entry_from_one")


@pytest.fixture
def log():
    rng = random.Random(1)
    for number in range(1, LENGTH + 1):
        with transaction():
            record(f"test.{number % 7}", actor=f"user:{rng.randrange(9)}", obj=f"x:{rng.randrange(99)}", number=number)
        if number % EVERY == 0:
            checkpoints.make((KID, lambda body: signing.sign(signing.DOMAIN_CHECKPOINT, body, KEY)))
    open_wide()
    kept = checkpoints.newest()
    assert kept is not None
    yield Log(list(AuditEntry.objects.order_by("seq")), kept)
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA ignore_check_constraints = OFF")


def content(row):
    return json.loads(bytes(row.body))


def rewritten(row, **changes):
    """The row with another body, its own columns following, its hash too."""
    said = content(row) | changes
    body = canonical(said)
    copies = {name: said[name] for name in COPIES}
    return AuditEntry(seq=said["seq"], body=body, prev_hash=said["prev"], entry_hash=entry_hash(body), **copies)


def changed(rng, said):
    """Another value for one thing that a body says."""
    field = rng.choice(["ts_us", "action", "actor", "object", "objects", "outcome", "visibility", "facts"])
    if field == "ts_us":
        return {field: said[field] + rng.choice([-1, 1]) * rng.randrange(1, 10**9)}
    if field == "facts":
        return {field: {"number": rng.randrange(10**6, 10**7)}}
    return {field: ["x:evil"] if field == "objects" else f"evil.{rng.randrange(10**6)}"}


def rechained(rows, start):
    """Everything from a place on hashed anew: what somebody does who knows how."""
    previous = rows[start - 1].entry_hash if start else GENESIS
    for place in range(start, len(rows)):
        rows[place] = rewritten(rows[place], seq=place + 1, prev=previous)
        previous = rows[place].entry_hash
    return rows


def signed_before(place):
    """The first entry after the last checkpoint that is older than a place."""
    return (place - 1) // EVERY * EVERY + 1


def edit(rng, log):
    at = rng.randrange(LENGTH)
    new = rewritten(log.rows[at], **changed(rng, content(log.rows[at])))
    new.entry_hash = log.rows[at].entry_hash
    log.rows[at] = new
    return at + 1


def edit_a_column(rng, log):
    at = rng.randrange(LENGTH)
    name = rng.choice(COPIES)
    setattr(log.rows[at], name, 7 if name == "ts_us" else "evil")
    return at + 1


def edit_and_hash(rng, log):
    at = rng.randrange(LENGTH - 1)
    log.rows[at] = rewritten(log.rows[at], **changed(rng, content(log.rows[at])))
    # The entry itself looks good now, but for a checkpoint at that very place; the link after it does not hold.
    return signed_before(at + 1) if (at + 1) % EVERY == 0 else at + 2


def edit_and_hash_all(rng, log):
    at = rng.randrange(LENGTH)
    log.rows[at] = rewritten(log.rows[at], **changed(rng, content(log.rows[at])))
    rechained(log.rows, at + 1)
    return signed_before(at + 1)


def delete(rng, log):
    at = rng.randrange(LENGTH - 1)
    del log.rows[at]
    return at + 1


def delete_and_hash_all(rng, log):
    at = rng.randrange(LENGTH - EVERY)
    del log.rows[at]
    rechained(log.rows, at)
    return signed_before(at + 1)


def swap(rng, log):
    one, other = sorted(rng.sample(range(LENGTH), 2))
    log.rows[one].body, log.rows[other].body = log.rows[other].body, log.rows[one].body
    log.rows[one].entry_hash, log.rows[other].entry_hash = log.rows[other].entry_hash, log.rows[one].entry_hash
    return one + 1


def insert(rng, log):
    at = rng.randrange(1, LENGTH)
    # A foreign entry: the chain has one successor for each.
    log.rows.insert(at, rewritten(log.rows[at], prev=f"{rng.randrange(16**8):064x}"))
    for place, row in enumerate(log.rows, start=1):
        row.seq = place
    return at + 1


def insert_and_hash_all(rng, log):
    at = rng.randrange(LENGTH)
    log.rows.insert(at, rewritten(log.rows[at], **changed(rng, content(log.rows[at]))))
    rechained(log.rows, at)
    return signed_before(at + 1)


def put_before(rng, log):
    """An entry with a number that no chain begins with."""
    seq = -rng.randrange(LENGTH)
    new = rewritten(rng.choice(log.rows), seq=seq, prev=f"{rng.randrange(16**8):064x}")
    log.rows.insert(0, new)
    return seq


def cut_off(rng, log):
    left = rng.randrange(1, LENGTH)
    del log.rows[left:]
    log.head = (left, log.rows[-1].entry_hash)
    # The hub's own checkpoints of what is gone are gone too; the kept one is not.
    log.kept_own = left
    return left + 1


KINDS = [
    edit,
    edit_a_column,
    edit_and_hash,
    edit_and_hash_all,
    delete,
    delete_and_hash_all,
    swap,
    insert,
    insert_and_hash_all,
    put_before,
    cut_off,
]
# The export carries bodies and hashes; the columns are the hub's own copies.
EXPORTED = [kind for kind in KINDS if kind is not edit_a_column]


def tamper(kind, rng, log):
    """Do it to a copy of the log, write it to the table, and return where it is first wrong."""
    copy = dataclasses.replace(log, rows=[AuditEntry(**fields(row)) for row in log.rows])
    expected = kind(rng, copy)
    AuditEntry.objects.all()._raw_delete("default")
    AuditEntry.objects.bulk_create(copy.rows)
    seq, last = copy.head if copy.head[0] else (len(copy.rows), copy.rows[-1].entry_hash)
    if kind in (edit, edit_a_column, edit_and_hash, delete, swap, insert, put_before):
        seq, last = LENGTH, log.rows[-1].entry_hash
    AuditHead.objects.update(seq=seq, entry_hash=last)
    Checkpoint.objects.filter(seq__gt=copy.kept_own)._raw_delete("default")
    return expected


def fields(row):
    return {name: getattr(row, name) for name in ("seq", "body", "prev_hash", "entry_hash", *COPIES)}


def found(kept):
    """Where verification says that the log is first wrong."""
    results = checkpoints.verify_with([kept], IDENTITIES)
    return min((result.bad_seq for result in results if not result.ok), default=None)


def restore(log, saved):
    Checkpoint.objects.all()._raw_delete("default")
    Checkpoint.objects.bulk_create(saved)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_each_kind_of_tampering_is_found_at_its_first_place(log, kind):
    rng = random.Random(kind.__name__)
    saved = list(Checkpoint.objects.all())
    for _ in range(TIMES // len(KINDS) + 1):
        expected = tamper(kind, rng, log)
        assert found(log.kept) == expected
        restore(log, saved)


def standalone(tmp_path, kept, *words):
    whole, notes = tmp_path / "audit.jsonl", tmp_path / "kept.jsonl"
    whole.write_text("".join(export.lines(CHAIN)), encoding="utf-8")
    notes.write_text(kept.to_line() + "\n", encoding="utf-8")
    command = [sys.executable, "-I", str(TOOL), str(whole), "--checkpoint", str(notes), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_standalone_verifier_agrees(log, tmp_path):
    rng = random.Random(20)
    saved = list(Checkpoint.objects.all())
    for number in range(STANDALONE):
        expected = tamper(EXPORTED[number % len(EXPORTED)], rng, log)
        done = standalone(tmp_path, log.kept)
        assert (done.returncode, done.stderr) == (1, "")
        # An export has no numbers of its own: what stands before the first entry stands in its place.
        assert done.stdout.startswith(f"The audit does not hold at entry {max(expected, 1)}: "), done.stdout
        restore(log, saved)


def test_an_honest_log_holds_for_both(log, tmp_path):
    assert found(log.kept) is None
    pinned = signing.fingerprint(KEY.public_key())
    done = standalone(tmp_path, log.kept, "--fingerprint", pinned)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == f"{LENGTH} entries hold. {LENGTH // EVERY + 1} checkpoints agree."


def test_another_hubs_export_is_not_taken_for_ours(log, tmp_path):
    other = signing.fingerprint(Ed25519PrivateKey.generate().public_key())
    done = standalone(tmp_path, log.kept, "--fingerprint", other)
    assert done.returncode == 2
    assert "is not the one with the fingerprint" in done.stderr


def test_a_fingerprint_that_was_cut_short_is_not_taken_for_another_hubs(log, tmp_path):
    done = standalone(tmp_path, log.kept, "--fingerprint", signing.fingerprint(KEY.public_key())[:20])
    assert (done.returncode, done.stderr) == (2, "error: a fingerprint has 64 hex digits, this one has 16\n")


@pytest.mark.parametrize(
    "text", ["", "{", "[]\n", '{"kind":"head","v":2}\n', '{"kind":"head","v":1,"identities":[]}\n']
)
def test_other_files_are_no_exports(tmp_path, text):
    file = tmp_path / "x.jsonl"
    file.write_text(text)
    done = subprocess.run([sys.executable, "-I", str(TOOL), str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_an_export_that_was_cut_off_is_told_as_such(log, tmp_path):
    whole = tmp_path / "audit.jsonl"
    lines = list(export.lines(CHAIN))
    whole.write_text("".join(lines[:200]))
    done = subprocess.run([sys.executable, "-I", str(TOOL), str(whole)], capture_output=True, text=True, check=False)
    assert done.stdout == "The audit does not hold at entry 200: the export was cut off.\n"


def test_the_verifier_imports_nothing_of_ours_and_is_short():
    text = TOOL.read_text()
    assert not {"hospintel_core", "apps.", "django"} & set(text.replace("import ", " ").split())
    assert len(text.splitlines()) < 300
