"""Refusals are recorded whatever becomes of the transaction; strangers cannot fill the audit with them."""

from contextlib import suppress
from typing import Any

import pytest
from django.contrib.auth.models import Group

from apps.audit import denials
from apps.audit.api import deny, events_after, flush_denials, record, transaction, verify
from apps.audit.models import AuditEntry

SYSTEM = "system:test"


def all_events() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while more := events_after(len(found), 500):
        found += more
    return found


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
@pytest.mark.parametrize("part", ["action", "code", "address"])
def test_a_flood_of_kinds_does_not_fill_the_memory(part: str):
    fixed = {"action": "login.refused", "code": "login_invalid", "address": "192.0.2.1"}
    for number in range(3 * denials.MAX_KEYS):
        deny(actor="unknown", **(fixed | {part: f"{number:x}"}))
    assert flush_denials() == denials.MAX_KEYS + 1
    collapsed = [event for event in all_events() if event["action"] == "calls.refused"]
    assert [(event["facts"]["address"], event["facts"]["calls"]) for event in collapsed] == [
        (denials.ELSEWHERE, 2 * denials.MAX_KEYS)
    ]


@pytest.mark.django_db
def test_of_a_known_caller_the_first_refusal_is_written_and_those_like_it_are_counted():
    for _ in range(300):
        deny("GET head", code="model_unknown", actor="agent:1", address="192.0.2.1", visibility="hospital:1")
    deny("GET head", code="model_unknown", actor="agent:2", address="192.0.2.1")
    deny("GET task", code="federation_unknown", actor="agent:1", address="192.0.2.1")
    assert [event["actor"] for event in events_after(0)] == ["agent:1", "agent:2", "agent:1"]
    assert flush_denials() == 1
    last = events_after(3)[0]
    assert (last["action"], last["actor"], last["visibility"]) == ("GET head", "agent:1", "hospital:1")
    assert (last["facts"]["calls"], last["facts"]["address"]) == (299, "192.0.2.1")
    assert last["facts"]["first_us"] <= last["facts"]["last_us"]
    deny("GET head", code="model_unknown", actor="agent:1", address="192.0.2.1")
    assert len(events_after(0)) == 5
    assert flush_denials() == 0


@pytest.mark.django_db
def test_a_token_used_from_several_places_is_not_shown_as_used_from_one():
    for address in ("192.0.2.1", "192.0.2.1", "198.51.100.9"):
        deny("GET head", code="model_unknown", actor="agent:1", address=address)
    flush_denials()
    assert events_after(1)[0]["facts"]["address"] == denials.ELSEWHERE


@pytest.mark.django_db
def test_a_flood_of_a_known_caller_does_not_fill_memory_or_audit():
    for number in range(3 * denials.MAX_KEYS):
        with transaction():
            deny(f"GET {number}", code="x", actor="agent:1")
    assert len(denials._known) == denials.MAX_KEYS + 1
    assert flush_denials() == 1
    assert all_events()[-1]["facts"]["calls"] == 2 * denials.MAX_KEYS


@pytest.mark.django_db(transaction=True)
def test_the_web_process_writes_its_counts_by_itself():
    deny("login.refused", code="login_invalid", actor="unknown", address="192.0.2.1")
    problems: list[Exception] = []
    finish = denials.start_flusher(3600, on_error=problems.append)
    finish()
    assert [event["action"] for event in events_after(0)] == ["login.refused"]
    assert problems == []
