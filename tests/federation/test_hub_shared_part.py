"""Readers with the same rights share the dashboard's living part for a moment; nobody gets what is not theirs."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from time import monotonic

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from looking import LIVE, browser, see, text

from apps.accounts.models import Role, User
from apps.accounts.pipeline import add_member
from apps.audit.api import record, transaction
from apps.federation.models import Agent
from apps.federation.views import shared_part
from apps.federation.views.shared_part import SharedPart


def part_of(person):
    """The living part, and how many questions to the database it took."""
    client = browser(person)
    with CaptureQueriesContext(
        connection,
    ) as asked:
        answer = client.get("/", headers=LIVE)
    return text(answer), len(asked)


@pytest.fixture
def colleague(cast):
    """Another doctor of the hospital in the north."""
    found = User.objects.create_user("colleague", password="correct horse battery", role=Role.DOCTOR)
    add_member(found, cast.north, actor="system:test")
    return found


def test_the_second_reader_with_the_same_rights_costs_a_fraction(hub, cast, colleague):
    first, dear = part_of(cast.north_doctor)
    second, cheap = part_of(colleague)
    assert second == first
    assert cheap * 2 < dear
    # And the whole page shows the same.
    assert first.strip() in see(colleague)


def test_a_page_and_its_part_are_the_same_for_who_shares_nothing(hub, cast):
    assert text(browser(cast.admin).get("/", headers=LIVE)).strip() in see(cast.admin)


def test_who_has_other_rights_gets_another_part(hub, cast, colleague):
    with transaction():
        record("update.refused", actor="system:worker", visibility=f"hospital:{cast.north.pk}", code="nan")
    refused = "refused an update"
    shown = {
        person.username: refused in part_of(person)[0]
        for person in (colleague, cast.south_doctor, cast.reader, cast.admin)
    }
    assert shown == {"colleague": True, "south_doctor": False, "reader": False, "admin": True}


def test_whose_rights_change_gets_what_is_theirs_at_once(hub, cast, colleague):
    with transaction():
        record("update.refused", actor="system:worker", visibility=f"hospital:{cast.north.pk}", code="nan")
    assert "refused an update" in part_of(colleague)[0]
    colleague.memberships.all().delete()
    assert "refused an update" not in part_of(User.objects.get(pk=colleague.pk))[0]


def test_after_an_event_the_part_is_made_anew(hub, cast, north, south):
    before, _ = part_of(cast.reader)
    hub.start_run()
    north.poll()
    south.poll()
    hub.work()
    after, _ = part_of(cast.reader)
    assert "is collecting" not in before
    assert "is collecting" in after


def test_what_makes_no_event_is_seen_a_second_later(hub, cast, north, monkeypatch):
    north.poll()
    assert "1 agent online" in part_of(cast.reader)[0]
    Agent.objects.update(last_seen=timezone.now() - timedelta(hours=1))
    assert "1 agent online" in part_of(cast.reader)[0]
    monkeypatch.setattr(shared_part, "monotonic", lambda: monotonic() + shared_part.SECONDS)
    assert "0 agents online" in part_of(cast.reader)[0]


def test_many_at_once_make_it_once_and_a_failure_is_not_kept():
    parts, made, all_here = SharedPart(), [], threading.Barrier(8)

    def make():
        made.append(1)
        if len(made) == 1:
            raise LookupError
        return "part"

    def ask(_):
        all_here.wait(10)
        try:
            return parts.get("key", make)
        except LookupError:
            return "failed"

    with ThreadPoolExecutor(8) as pool:
        found = sorted(pool.map(ask, range(8)))
    assert found == ["failed", *["part"] * 7]
    assert len(made) == 2


def test_more_kinds_than_it_keeps_are_made_each_time():
    parts = SharedPart()
    for number in range(2 * shared_part.MOST):
        assert parts.get(number, lambda number=number: f"part {number}") == f"part {number}"
    assert len(parts._kept) == shared_part.MOST
