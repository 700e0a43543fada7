"""The audit is the event feed."""

import pytest
from django.utils import timezone

from apps.audit.api import events_about, events_after, newest_events, record, transaction
from apps.audit.feed import MAX_EVENTS, as_event
from apps.audit.models import AuditEntry

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _events() -> None:
    with transaction():
        for number in range(6):
            visibility = ("everyone", "admin", "hospital:1")[number % 3]
            record("x.y", actor="system:test", objects=["a:1", "b:2"], visibility=visibility, number=number)


def numbers(**of: object) -> list[int]:
    return [event["facts"]["number"] for event in events_after(**of)]  # type: ignore[arg-type]


def test_events_come_in_order_after_the_last_one_seen():
    assert numbers(seq=0) == [0, 1, 2, 3, 4, 5]
    assert numbers(seq=4) == [4, 5]
    assert numbers(seq=0, limit=2) == [0, 1]
    assert numbers(seq=6) == []


def test_people_get_what_they_may_see():
    assert numbers(seq=0, visibilities=["everyone"]) == [0, 3]
    assert numbers(seq=0, visibilities=["everyone", "hospital:1"]) == [0, 2, 3, 5]
    assert numbers(seq=0, visibilities=[]) == []


def test_an_event_names_its_objects_and_nothing_of_the_chain():
    event = events_after(0)[0]
    assert event["objects"] == ["a:1", "b:2"]
    assert set(event) == {"seq", "ts_us", "action", "actor", "object", "objects", "outcome", "visibility", "facts"}


def test_nobody_gets_more_than_the_limit():
    with transaction():
        for number in range(MAX_EVENTS + 1):
            record("x.y", actor="system:test", number=number)
    assert len(events_after(0, limit=10_000)) == MAX_EVENTS


def test_what_happened_to_one_thing_is_found_among_much_else():
    began = timezone.now()
    with transaction():
        record("x.first", actor="system:test", obj="round:1")
        for number in range(MAX_EVENTS):
            record("x.else", actor="system:test", obj="round:2", number=number)
        record("x.last", actor="system:test", obj="update:1", objects=["round:1"])
        record("x.hidden", actor="system:test", obj="round:1", visibility="admin")
    about = events_about("round:1", began, timezone.now(), visibilities=["everyone"])
    assert [event["action"] for event in about] == ["x.first", "x.last"]
    of_many = events_about("round:2", began, timezone.now())
    assert [event["facts"]["number"] for event in of_many] == list(range(MAX_EVENTS))


def test_the_newest_of_several_visibilities_come_in_one_order():
    before = AuditEntry.objects.latest("seq").seq
    words = ["everyone", "hospital:a", "admin", "hospital:b"]
    for number in range(12):
        with transaction():
            record("x.y", actor="system:test", visibility=words[number % 4], number=number)
    own = ["everyone", "hospital:b"]
    assert [event["facts"]["number"] for event in newest_events(4, visibilities=own)] == [11, 8, 7, 4]
    oldest = AuditEntry.objects.filter(seq__gt=before).first_visible(3, own, newest_first=False)
    assert [as_event(entry)["facts"]["number"] for entry in oldest] == [0, 3, 4]
    assert newest_events(4, visibilities=[]) == []


def test_what_a_reader_may_see_is_read_in_order_and_not_sorted():
    plan = AuditEntry.objects.filter(visibility="everyone").order_by("-seq")[:50].explain()
    assert "TEMP B-TREE" not in plan
