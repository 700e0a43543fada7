"""Checkpoints: when they are made, what they refuse to sign, and what they show."""

import base64
import json
from datetime import timedelta

import pytest
import time_machine
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import DatabaseError, connection
from django.utils import timezone

from apps.audit import checkpoints, export, guards
from apps.audit.api import record, transaction
from apps.audit.chain import canonical
from apps.audit.checkpoints import ChainBroken, Note
from apps.audit.models import AuditEntry, Checkpoint
from hospintel_core import signing

pytestmark = pytest.mark.django_db
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KID = signing.key_id(KEY.public_key()).hex()
IDENTITIES = {KID: KEY.public_key()}


def signer(key=KEY, kid=KID):
    return kid, lambda body: signing.sign(signing.DOMAIN_CHECKPOINT, body, key)


def append(count=1):
    for number in range(count):
        with transaction():
            record("x.y", actor="system:test", number=number)


def test_a_checkpoint_says_where_the_chain_stands_and_is_signed():
    append(3)
    note = checkpoints.make(signer())
    assert (note.seq, note.entry_hash, note.kid) == (3, AuditEntry.objects.get(seq=3).entry_hash, KID)
    signing.verify(signing.DOMAIN_CHECKPOINT, note.body, note.signature, KEY.public_key())
    assert checkpoints.newest() == note
    assert checkpoints.check([note], IDENTITIES).ok


def test_where_a_checkpoint_stands_no_second_one_is_made():
    append()
    assert checkpoints.make(signer()) == checkpoints.make(signer())
    assert Checkpoint.objects.count() == 1


def test_an_empty_chain_is_not_signed():
    assert not checkpoints.is_due()
    assert checkpoints.make(signer()) is None


def test_a_checkpoint_is_due_after_a_minute_or_many_entries():
    append()
    assert checkpoints.is_due()
    checkpoints.make(signer())
    assert not checkpoints.is_due()
    append()
    assert not checkpoints.is_due()
    with time_machine.travel(timezone.now() + timedelta(seconds=checkpoints.EVERY_SECONDS + 1)):
        assert checkpoints.is_due()
    append(checkpoints.EVERY_ENTRIES - 1)
    assert checkpoints.is_due()


def test_nothing_that_does_not_hold_is_signed():
    append(4)
    guards.remove(connection)
    AuditEntry.objects.filter(seq=3).update(actor="user:9")
    with pytest.raises(ChainBroken, match="entry 3"):
        checkpoints.make(signer())
    assert not Checkpoint.objects.exists()


def test_nothing_is_signed_that_contradicts_an_earlier_checkpoint():
    append(4)
    checkpoints.make(signer())
    append()
    guards.remove(connection)
    AuditEntry.objects.filter(seq=4).update(entry_hash="0" * 64)
    with pytest.raises(ChainBroken, match="entries 1 to 4 are not those of a checkpoint"):
        checkpoints.make(signer())


def test_checkpoints_cannot_be_changed_or_deleted():
    append()
    checkpoints.make(signer())
    with pytest.raises(DatabaseError, match="cannot be changed or deleted"), transaction():
        Checkpoint.objects.update(ts_us=0)
    with pytest.raises(DatabaseError, match="cannot be changed or deleted"), transaction():
        Checkpoint.objects.all()._raw_delete("default")
    with pytest.raises(TypeError):
        Checkpoint.objects.get().delete()


def test_a_checkpoint_of_a_stranger_is_found():
    append()
    stranger = Ed25519PrivateKey.generate()
    kid = signing.key_id(stranger.public_key()).hex()
    note = checkpoints.make(signer(stranger, kid))
    result = checkpoints.check([note], IDENTITIES)
    assert (result.ok, result.bad_seq) == (False, 1)
    assert "no identity" in result.reason
    forged = Note.of(note.body.replace(kid.encode(), KID.encode()), note.signature)
    assert "signature" in checkpoints.check([forged], IDENTITIES).reason


def test_a_line_is_read_as_it_was_written():
    append()
    note = checkpoints.make(signer())
    assert Note.from_line(note.to_line()) == note


GOOD = {"v": 1, "seq": 1, "entry_hash": "0" * 64, "ts_us": 1, "kid": KID}


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        json.dumps({"body": 3, "signature": ""}),
        json.dumps({"body": "{}", "signature": ""}),
        json.dumps({"body": canonical(GOOD | {"v": 2}).decode(), "signature": ""}),
        json.dumps({"body": canonical(GOOD | {"more": 1}).decode(), "signature": ""}),
        json.dumps({"body": json.dumps(GOOD, indent=1), "signature": ""}),
        json.dumps({"body": canonical(GOOD).decode(), "signature": "*"}),
        "[" * 100_000,
    ],
)
def test_other_lines_are_no_checkpoints(line):
    with pytest.raises(ValueError):  # noqa: PT011 - each has its own text
        Note.from_line(line)


def test_the_signature_has_a_domain_of_its_own():
    append()
    note = checkpoints.make((KID, lambda body: signing.sign(signing.DOMAIN_MANIFEST, body, KEY)))
    assert not checkpoints.check([note], IDENTITIES).ok
    assert base64.b64encode(note.signature).decode() in note.to_line()


@pytest.mark.parametrize("body", [b"", b"\xff", b"{}", b"[" * 100_000, b"of another entry"])
def test_a_checkpoint_that_somebody_put_into_the_table_is_found_and_stops_nothing(body):
    append(2)
    note = checkpoints.make(signer())
    append(2)
    row = {"body": note.body if body == b"of another entry" else body, "signature": note.signature, "ts_us": 1}
    Checkpoint.objects.create(seq=3, **row)
    chain, signed = checkpoints.verify_with([], IDENTITIES)
    assert (chain.ok, signed.ok, signed.bad_seq) == (True, False, 3)
    assert signed.reason == "the checkpoint is signed by no identity of this hub"
    assert "".join(export.lines([])).count('"kind":"checkpoint"') == 2
    assert checkpoints.is_due()
    with pytest.raises(ChainBroken):
        checkpoints.make(signer())


def test_a_checkpoint_beyond_the_end_does_not_silence_the_hub():
    append(2)
    note = checkpoints.make(signer())
    Checkpoint.objects.create(seq=10**9, body=note.body, signature=note.signature, ts_us=note.ts_us)
    append()
    assert checkpoints.is_due()
    with pytest.raises(ChainBroken, match="knows entries up to 1000000000"):
        checkpoints.make(signer())
