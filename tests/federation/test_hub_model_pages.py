"""What the page of models says, to whom; and what all pages have in common."""

import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from looking import BROWSER, LIVE, browser, do, page_of, see
from proposing import proposed
from site_agent import report

from apps.federation.models import ModelVersion, Round
from apps.federation.pipeline import publish
from apps.federation.views import models

# --- Models -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def two_versions(hub, north, south):
    """A run of one round whose version both agents have measured."""
    hub.open_round(north, south)
    hub.finish_honestly(north, south)
    for agent in (north, south):
        agent.evaluate(report(9))
        hub.work()
    return hub


def test_versions_show_where_they_come_from_and_which_is_current(two_versions, cast):
    page = see(cast.reader, "/models/")
    assert "Version 2 is the current model." in page
    assert "round 1 , version 1" in page
    assert page.partition("accuracy and loss as the agents measured them")[2].count("Current") == 1


def test_the_model_can_be_fetched_by_those_who_may(two_versions, cast):
    for person, may in ((cast.admin, True), (cast.north_doctor, True), (cast.reader, False)):
        for address in ("/", "/models/"):
            body = browser(person).get(address, headers=BROWSER).content.decode()
            assert ('href="/model" download="global_model.h5"' in body) == may


def test_an_administrator_goes_back_to_a_version_and_it_gets_a_new_number(two_versions, cast):
    old = ModelVersion.objects.get(number=1)
    assert "Go back" not in see(cast.north_doctor, "/models/")
    page = do(cast.admin, f"/models/{old.pk}/rollback")
    assert "The version is current again, under a new number." in page
    assert "Version 3 is the current model." in page
    two_versions.federation.refresh_from_db()
    assert two_versions.federation.current.digest == old.digest


@pytest.fixture
def held(two_versions):
    """A version that the gate holds back."""
    hub = two_versions
    version = ModelVersion.objects.create(
        federation=hub.federation,
        digest=hub.federation.current.digest[::-1],
        parent=hub.federation.current,
        source="ROUND",
    )
    publish.hold(version, verdict="accuracy 0.5, base 0.9", actor="system:test")
    return version


@pytest.mark.parametrize(
    ("verb", "said", "state"), [("publish", "is published", "PUBLISHED"), ("reject", "is rejected", "REJECTED")]
)
def test_a_held_version_waits_on_the_page_for_an_administrators_word(held, cast, verb, said, state):
    for person, may in ((cast.admin, True), (cast.north_doctor, False)):
        assert "A version is held back: accuracy 0.5, base 0.9." in see(person)
        page = see(person, "/models/")
        assert "One version waits for an administrator's decision." in page
        assert ("Reason (needed)" in page) == may
    assert said in do(cast.admin, f"/models/{held.pk}/{verb}", reason="seen")
    held.refresh_from_db()
    assert held.state == state


def test_versions_are_shown_a_page_at_a_time(two_versions, cast, monkeypatch):
    monkeypatch.setattr(models, "VERSIONS_A_PAGE", 1)
    first, second = (see(cast.reader, f"/models/?page={number}") for number in (1, 2))
    assert ("Older" in first, "Newer" in first) == (True, False)
    assert ("Older" in second, "Newer" in second) == (False, True)
    assert ("round 1 , version 1" in first, "round 1 , version 1" in second) == (True, False)
    for page in (first, second):
        assert "Version 2 is the current model." in page
        assert "Version 2 by class" in see(cast.admin, "/models/")


def test_what_a_proposals_job_measured_is_for_its_author_and_those_who_decide(hub, cast):
    measured = {"held_out": {"before": report(7).to_dict(), "after": report(9).to_dict()}}
    version = proposed(hub, cast.north_doctor, report=measured, note="our scanner")
    for reader, may_see in ((cast.admin, True), (cast.north_doctor, True), (cast.south_doctor, False)):
        page = see(reader, "/models/")
        assert "proposed by north_doctor" in page
        assert "our scanner" in page
        assert ("7 of 10 (39.7 % to 89.2 %)" in page) == may_see
        assert ("9 of 10 (59.6 % to 98.2 %)" in page) == may_see
    do(cast.admin, f"/models/{version.pk}/publish", reason="better")
    page = see(cast.admin, "/models/")
    assert "proposed by north_doctor; published by an admin: better by admin" in page
    assert "Their reason “better”" in see(cast.admin, f"/models/{version.pk}/")
    assert "published by an admin: better, fine-tune" in see(cast.admin, "/models/lineage/")


def test_an_author_finds_no_buttons_on_their_own_proposal(hub, cast):
    proposed(hub, cast.admin)
    page = see(cast.admin, "/models/")
    assert "You proposed it: another administrator decides." in page
    assert "Reason (needed)" not in page


def test_an_alarm_names_the_version_and_leads_to_the_models(two_versions, cast):
    current = ModelVersion.objects.get(number=2)
    ModelVersion.objects.filter(pk=current.pk).update(alarm="accuracy 0.5, its parent had 0.9")
    figures_of_it = f"Version {current.number} is worse than its parent: accuracy 0.5, its parent had 0.9."
    assert figures_of_it in see(cast.admin)
    for person in (cast.north_doctor, cast.reader):
        page = see(person)
        assert f"Version {current.number} is worse than its parent." in page
        assert "0.9" not in page.partition("go back to an earlier one")[0]


# --- The living part --------------------------------------------------------------------------------------------------


def test_the_living_part_is_what_the_page_holds_and_nothing_around_it(two_versions, cast):
    client = browser(cast.admin)
    for address in ("/", "/rounds/", "/models/", page_of(Round.objects.get())):
        part = client.get(address, headers=LIVE).content.decode()
        assert "<html" not in part
        assert "<h1>" in part
        whole = client.get(address, headers=BROWSER).content.decode()
        assert re.search(r'<div data-living="\d+">', whole)
        assert part.partition("<h1>")[2].partition("</h1>")[0] in whole


def test_no_page_has_a_script_a_style_or_a_handler_in_it(two_versions, cast):
    client = browser(cast.admin)
    for address in ("/", "/rounds/", "/models/", page_of(Round.objects.get())):
        body = client.get(address, headers=BROWSER).content.decode()
        assert not re.search(r"<script(?![^>]* src=)|<style| style=| on[a-z]+=", body), address


def test_every_row_and_every_part_has_a_name_of_its_own(two_versions, cast):
    """A page that changes in place finds by the ids what is new and what was there."""
    client = browser(cast.admin)
    for address in ("/", "/rounds/", "/models/", page_of(Round.objects.get())):
        ids = re.findall(r' id="([^"]+)"', client.get(address, headers=BROWSER).content.decode())
        assert len(ids) == len(set(ids)), address


def test_a_page_asks_the_database_as_often_for_many_versions_as_for_few(hub, cast, north, south):
    client = browser(cast.north_doctor)
    counts = []
    for _ in range(2):
        for _ in range(3):
            hub.open_round(north, south)
            hub.finish_honestly(north, south)
            for agent in (north, south):
                agent.evaluate(report(9))
                hub.work()
        with CaptureQueriesContext(connection) as asked:
            for address in ("/", "/rounds/", "/models/"):
                client.get(address, headers=LIVE)
        counts.append(len(asked))
    assert counts[0] == counts[1]
