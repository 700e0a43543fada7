"""Refusals are recorded whatever becomes of the transaction; strangers cannot fill the audit with them."""

from collections.abc import Iterator
from contextlib import suppress

import pytest
from django.contrib.auth.models import Group

from apps.audit import denials
from apps.audit.api import deny, events_after, flush_denials, record, transaction, verify
from apps.audit.models import AuditEntry

SYSTEM = "system:test"


@pytest.fixture(autouse=True)
def _no_counts_left() -> Iterator[None]:
    denials._counts.clear()
    yield
    denials._counts.clear()


@pytest.mark.django_db
def test_a_denial_survives_the_rollback_it_was_made_in():
    with suppress(LookupError), transaction():
        Group.objects.create(name="x")
        record("group.create", actor=SYSTEM)
        deny("update.refused", code="envelope_signature", actor="agent:1", address="192.0.2.1", size=7)
        assert not AuditEntry.objects.exists()
        raise LookupError
    assert not Group.objects.exists()
    event = events_after(0)[0]
    assert (event["action"], event["actor"], event["outcome"]) == ("update.refused", "agent:1", "denied")
    assert event["facts"] == {"code": "envelope_signature", "address": "192.0.2.1", "size": 7}
    assert event["visibility"] == "admin"
    assert verify().ok


@pytest.mark.django_db
def test_a_denial_made_in_a_block_that_commits_comes_after_it():
    with transaction():
        deny("x.refused", code="c", actor="user:1")
        record("x.y", actor=SYSTEM)
    assert [event["action"] for event in events_after(0)] == ["x.y", "x.refused"]


@pytest.mark.django_db
def test_strangers_are_counted_and_written_together():
    for _ in range(500):
        deny("enrol.refused", code="code_unknown", actor="unknown", address="192.0.2.1")
    deny("enrol.refused", code="code_unknown", actor="unknown", address="192.0.2.2")
    assert not AuditEntry.objects.exists()
    assert flush_denials() == 2
    first, second = events_after(0)
    assert first["facts"]["calls"] == 500
    assert first["facts"]["address"] == "192.0.2.1"
    assert second["facts"]["calls"] == 1
    assert flush_denials() == 0


@pytest.mark.django_db
def test_a_flood_of_addresses_does_not_fill_the_memory():
    for number in range(denials.MAX_KEYS + 500):
        deny("login.refused", code="login_invalid", actor="unknown", address=f"2001:db8::{number:x}")
    assert len(denials._counts) <= denials.MAX_KEYS + 1
    flush_denials()
    elsewhere = [event for event in events_after(0, 500) if event["facts"]["address"] == denials.ELSEWHERE]
    rest = AuditEntry.objects.count() - 500
    assert rest == denials.MAX_KEYS + 1 - 500
    assert not elsewhere or elsewhere[0]["facts"]["calls"] == 500


@pytest.mark.django_db(transaction=True)
def test_the_web_process_writes_its_counts_by_itself():
    deny("login.refused", code="login_invalid", actor="unknown", address="192.0.2.1")
    problems: list[Exception] = []
    finish = denials.start_flusher(3600, on_error=problems.append)
    finish()
    assert [event["action"] for event in events_after(0)] == ["login.refused"]
    assert problems == []
