"""What is asked of the database for the people at open sockets: together, and for each alone."""

import asyncio
from datetime import timedelta

import pytest
from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY
from django.contrib.sessions.models import Session
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hub_client import HubClient

from apps.accounts.models import User
from apps.federation import looks
from apps.federation.looks import Looks, Shown, standings


def shown_by(person):
    """What a socket of this person shows, who has just signed in."""
    client = HubClient()
    client.force_login(person)
    return Shown(client.cookies[settings.SESSION_COOKIE_NAME].value, person.pk, client.session[HASH_SESSION_KEY])


@pytest.fixture
def shown(cast):
    people = (cast.reader, cast.north_doctor, cast.south_doctor, cast.admin)
    return {person.username: shown_by(person) for person in people}


def test_each_gets_what_is_theirs_and_many_cost_as_much_as_one(hub, cast, shown):
    with CaptureQueriesContext(connection) as for_one:
        one = standings([shown["north_doctor"]])
    with CaptureQueriesContext(connection) as for_all:
        found = standings(shown.values())
    assert len(for_all) == len(for_one)
    assert one[shown["north_doctor"]] == found[shown["north_doctor"]]
    assert {name: found[what].groups for name, what in shown.items()} == {
        "reader": ("events.everyone",),
        "north_doctor": ("events.everyone", f"events.hospital.{cast.north.pk}"),
        "south_doctor": ("events.everyone", f"events.hospital.{cast.south.pk}"),
        "admin": ("events.admin",),
    }


def test_who_does_not_hold_is_left_out_and_the_others_are_not(hub, cast, shown):
    Session.objects.filter(pk=shown["reader"].session_key).update(expire_date=timezone.now() - timedelta(seconds=1))
    User.objects.filter(pk=cast.south_doctor.pk).update(is_active=False)
    asked = {**shown, "admin": shown["admin"]._replace(proof="")}
    # A session of somebody else's does not carry.
    asked["thief"] = shown["north_doctor"]._replace(person_id=cast.admin.pk)
    assert set(standings(asked.values())) == {shown["north_doctor"]}


def test_looks_that_are_asked_for_meanwhile_are_done_together(hub, shown, in_loop, monkeypatch):
    runs = []

    def counted(asked):
        runs.append(len(asked))
        return standings(asked)

    monkeypatch.setattr(looks, "standings", counted)

    async def scene():
        one = Looks()
        return await asyncio.gather(*(one.look(what) for _ in range(50) for what in shown.values()))

    found = in_loop(scene)
    assert len(found) == 200
    assert None not in found
    assert len(runs) <= 2


def test_a_look_that_fails_is_told_to_who_asked_and_the_next_one_works(hub, shown, in_loop, monkeypatch):
    async def scene():
        one = Looks()
        with monkeypatch.context() as broken:
            broken.setattr(looks, "standings", lambda _: 1 / 0)
            failed = await asyncio.gather(*(one.look(what) for what in shown.values()), return_exceptions=True)
        return failed, await one.look(shown["reader"])

    failed, afterwards = in_loop(scene)
    assert [type(error) for error in failed] == [ZeroDivisionError] * 4
    assert afterwards is not None
