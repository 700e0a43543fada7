"""Whatever is done to the chain is found, and its first place named."""

import itertools
import json
import re
from collections.abc import Callable

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, IntegrityError, connection

from apps.audit import guards
from apps.audit.api import record, transaction, verify
from apps.audit.chain import canonical, entry_hash
from apps.audit.models import AuditEntry, AuditHead

pytestmark = pytest.mark.django_db


@pytest.fixture
def chain() -> None:
    for number in range(1, 11):
        with transaction():
            record("x.y", actor="system:test", number=number)
    guards.remove(connection)


def change_body(seq: int = 4) -> None:
    entry = AuditEntry.objects.get(seq=seq)
    AuditEntry.objects.filter(seq=seq).update(body=bytes(entry.body).replace(b"system:test", b"system:evil"))


def change_and_hash_again(seq: int = 4) -> None:
    entry = AuditEntry.objects.get(seq=seq)
    body = canonical({**json.loads(bytes(entry.body)), "actor": "system:evil"})
    AuditEntry.objects.filter(seq=seq).update(body=body, entry_hash=entry_hash(body), actor="system:evil")


def unlink_the_last_body() -> None:
    """The column and the head go on as if nothing were: only what was hashed names another entry before it."""
    body = canonical({**json.loads(bytes(AuditEntry.objects.get(seq=10).body)), "prev": "f" * 64})
    AuditEntry.objects.filter(seq=10).update(body=body, entry_hash=entry_hash(body))
    AuditHead.objects.update(entry_hash=entry_hash(body))


def cut_the_end() -> None:
    AuditEntry.objects.filter(seq__gt=8).delete()


def cut_the_end_and_the_head() -> None:
    cut_the_end()
    AuditHead.objects.update(seq=8)


def append_without_the_head() -> None:
    last = AuditEntry.objects.get(seq=10)
    body = canonical({**json.loads(bytes(last.body)), "seq": 11, "prev": last.entry_hash})
    last.seq, last.body, last.prev_hash, last.entry_hash = 11, body, last.entry_hash, entry_hash(body)
    last.save(force_insert=True)


def spell(old: bytes, new: bytes, seq: int = 3) -> None:
    """Say the same in other bytes, and hash them."""
    body = bytes(AuditEntry.objects.get(seq=seq).body)
    assert old in body
    body = body.replace(old, new)
    AuditEntry.objects.filter(seq=seq).update(body=body, entry_hash=entry_hash(body))


TAMPERING: list[tuple[Callable[[], object], int]] = [
    (change_body, 4),
    (change_and_hash_again, 5),
    (lambda: change_and_hash_again(10), 10),
    (unlink_the_last_body, 10),
    (lambda: AuditEntry.objects.filter(seq=3).update(actor="user:9"), 3),
    (lambda: AuditEntry.objects.filter(seq=3).update(ts_us=1), 3),
    (lambda: AuditEntry.objects.filter(seq=3).update(visibility="admin"), 3),
    (lambda: AuditEntry.objects.filter(seq=3).update(entry_hash="0" * 64), 3),
    (lambda: AuditEntry.objects.filter(seq=3).update(prev_hash="1" * 64), 3),
    (lambda: AuditEntry.objects.filter(seq=3).update(body=b"{"), 3),
    (lambda: AuditEntry.objects.filter(seq=3).update(body=b"[]", entry_hash=entry_hash(b"[]")), 3),
    (lambda: AuditEntry.objects.filter(seq=1).delete(), 1),
    (lambda: AuditEntry.objects.filter(seq=7).delete(), 7),
    (lambda: AuditEntry.objects.filter(seq=7).update(seq=70), 7),
    (cut_the_end, 9),
    (cut_the_end_and_the_head, 8),
    (append_without_the_head, 10),
    (lambda: spell(b'{"action"', b'{ "action"'), 3),
    (lambda: spell(b'"seq":3,', b'"seq":3.0,'), 3),
    (lambda: spell(b'"v":1,', b'"v":1,"w":2,'), 3),
    (lambda: spell(b'"action":', b'"action":"x","action":'), 3),
    (lambda: AuditHead.objects.update(entry_hash="0" * 64), 10),
    (lambda: AuditHead.objects.all().delete(), 1),
]


@pytest.mark.usefixtures("chain")
def test_an_honest_chain_holds():
    assert verify().ok
    assert verify().checked == 10
    assert verify(from_seq=4, to_seq=6).checked == 3
    assert verify(from_seq=11).ok


@pytest.mark.usefixtures("chain")
@pytest.mark.parametrize(("tamper", "bad_seq"), TAMPERING)
def test_tampering_is_found_and_its_place_named(tamper: Callable[[], object], bad_seq: int):
    tamper()
    result = verify()
    assert not result.ok
    assert result.bad_seq == bad_seq
    assert result.reason


@pytest.mark.usefixtures("chain")
def test_a_part_is_judged_by_itself():
    change_body(4)
    assert verify(from_seq=5).ok
    assert verify(to_seq=3).ok
    assert not verify(from_seq=4, to_seq=4).ok


@pytest.mark.usefixtures("chain")
def test_the_command_ends_with_what_it_found(capsys: pytest.CaptureFixture[str]):
    call_command("verify_audit")
    assert "10 entries hold" in capsys.readouterr().out
    change_body(4)
    with pytest.raises(CommandError, match="entry 4: the body does not have the stored hash"):
        call_command("verify_audit")
    call_command("verify_audit", "--from", "5")


@pytest.mark.usefixtures("chain")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--from", "11"), "There is no entry 11: the audit ends at entry 10. Nothing was checked."),
        (("--to", "900"), "There is no entry 900: the audit ends at entry 10. Nothing was checked."),
        (("--from", "7", "--to", "3"), "There is nothing between 7 and 3"),
    ],
)
def test_a_range_in_which_there_is_nothing_is_not_said_to_hold(words: tuple[str, ...], said: str):
    with pytest.raises(CommandError, match=re.escape(said)):
        call_command("verify_audit", *words)


@pytest.mark.usefixtures("chain")
def test_entries_are_canonical_json_with_their_place_and_their_predecessor():
    entries = list(AuditEntry.objects.all())
    for before, entry in itertools.pairwise(entries):
        body = json.loads(bytes(entry.body))
        assert canonical(body) == bytes(entry.body)
        assert (body["seq"], body["prev"]) == (entry.seq, before.entry_hash)


@pytest.mark.skipif(connection.vendor != "sqlite", reason="REPLACE is SQLite's")
def test_an_entry_cannot_be_replaced_past_the_triggers():
    for number in range(3):
        with transaction():
            record("x.y", actor="system:test", number=number)
    columns = "seq, body, prev_hash, entry_hash, ts_us, actor, action, object, outcome, visibility"
    for taken in ("seq", "prev_hash", "entry_hash"):
        fresh = {"seq": "77", "prev_hash": "'a'", "entry_hash": "'b'", "actor": "'system:evil'"}
        values = ", ".join(name if name == taken else fresh.get(name, name) for name in columns.split(", "))
        copy = f"INSERT OR REPLACE INTO audit_auditentry ({columns}) SELECT {values} FROM audit_auditentry"
        with pytest.raises(DatabaseError, match="cannot be changed or deleted"), transaction():
            connection.cursor().execute(f"{copy} WHERE seq = 2")
    assert verify().ok


def test_no_entry_has_a_number_below_one():
    with transaction():
        record("x.y", actor="system:test")
    entry = AuditEntry.objects.get()
    entry.seq, entry.prev_hash, entry.entry_hash = 0, "a", "b"
    with pytest.raises(IntegrityError), transaction():
        entry.save(force_insert=True)
