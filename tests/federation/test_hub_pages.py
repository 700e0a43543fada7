"""What the portal's pages say, to whom, and in which state of the hub; who may open them at all is in the matrix."""

import re
from datetime import timedelta
from html import unescape

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hub_client import HubClient
from site_agent import report

from apps.federation import figures, queries
from apps.federation.models import Agent, ModelVersion, Round, Run
from apps.federation.pipeline import publish

BROWSER = {"Accept": "text/html"}
LIVE = BROWSER | {"X-Fragment": "live"}


def browser(person):
    client = HubClient()
    client.force_login(person)
    return client


def text(answer):
    """What a reader sees: the page without its tags."""
    assert answer.status_code == 200, answer.content
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", answer.content.decode())))


def see(person, address="/"):
    return text(browser(person).get(address, headers=BROWSER))


def do(person, address, **fields):
    """Send a form, and return what is said on the page that comes next."""
    client = browser(person)
    answer = client.post(address, fields)
    assert answer.status_code == 302, answer.content
    return text(client.get(answer.headers["Location"], headers=BROWSER))


def page_of(round_):
    return f"/rounds/{round_.pk}/"


# --- Empty states -----------------------------------------------------------------------------------------------------


def test_an_empty_hub_tells_an_administrator_what_to_do_first_and_others_whom_to_wait_for(hub, cast):
    hub.federation.participations.all().delete()
    steps = see(cast.admin)
    assert "Nothing has been trained yet." in steps
    assert [word in steps for word in ("Add each hospital", "hospintel-agent enrol", "Start a run")] == [True] * 3
    others = see(cast.reader)
    assert "An administrator adds hospitals." in others
    assert "Start a run" not in others
    assert "A round opens when a run is started and 2 agents are online." in see(cast.reader, "/rounds/")


def test_a_model_that_nobody_has_measured_has_no_figures_and_no_charts(hub, cast):
    page = see(cast.reader)
    assert "not measured yet" in page
    assert "Accuracy" not in page
    assert "seeded, not trained" in see(cast.reader, "/models/")


# --- A run ------------------------------------------------------------------------------------------------------------


def test_an_administrator_starts_pauses_resumes_and_aborts_a_run_by_forms(hub, cast, north, south):
    assert "The run is started." in do(cast.admin, "/runs/start", rounds="3", epochs="2")
    run = Run.objects.get()
    assert (run.rounds, run.plan["epochs"], run.started_by) == (3, 2, f"user:{cast.admin.pk}")
    assert "The run waits until 2 agents are online; 0 are." in see(cast.admin)
    steer = f"/runs/{run.pk}"
    assert "The run is paused." in do(cast.admin, f"{steer}/pause")
    assert "The run goes on." in do(cast.admin, f"{steer}/resume")
    north.poll()
    south.poll()
    hub.work()
    page = do(cast.admin, f"{steer}/abort")
    assert "The run is aborted." in page
    assert "No run is active." in page
    round_page = see(cast.reader, page_of(Round.objects.get()))
    assert "ended without a version" in round_page
    assert "An administrator aborted the run. Start a new run when you are ready." in round_page


@pytest.mark.parametrize(
    ("rounds", "epochs", "why"),
    [
        ("0", "1", "A run has 1 to 1000 rounds."),
        ("1001", "1", "A run has 1 to 1000 rounds."),
        ("1", "0", "epochs must be from 1 to 100"),
        ("1", "101", "epochs must be from 1 to 100"),
        ("x", "1", "Rounds and epochs are whole numbers."),
        ("", "", "Rounds and epochs are whole numbers."),
    ],
)
def test_a_run_that_cannot_be_is_refused_in_words(hub, cast, rounds, epochs, why):
    assert why in do(cast.admin, "/runs/start", rounds=rounds, epochs=epochs)
    assert not Run.objects.exists()


def test_what_the_pipeline_refuses_is_said_on_the_page(hub, cast):
    hub.start_run()
    assert "active" in do(cast.admin, "/runs/start", rounds="1", epochs="1")
    run = Run.objects.get()
    do(cast.admin, f"/runs/{run.pk}/abort")
    said = do(cast.admin, f"/runs/{run.pk}/resume")
    assert "The run goes on." not in said


def test_only_administrators_are_shown_the_forms(hub, cast):
    hub.start_run()
    for person, shown in ((cast.admin, True), (cast.north_doctor, False), (cast.reader, False)):
        body = browser(person).get("/", headers=BROWSER).content.decode()
        assert ("Abort the run" in body) == shown
        # What cannot be undone asks first.
        assert ('data-confirm="The run ends.' in body) == shown


# --- A round ----------------------------------------------------------------------------------------------------------


def test_a_page_says_how_far_the_round_is_and_until_when_it_collects(hub, cast, north, south):
    round_ = hub.open_round(north, south)
    assert "no deadline before the first update" in see(cast.reader)
    north.take_part()
    hub.work()
    round_.refresh_from_db()
    for address in ("/", page_of(round_)):
        body = browser(cast.reader).get(address, headers=BROWSER).content.decode()
        assert "Round 1 of 1 is collecting: 1 of 2 updates, waiting on South Clinic." in body
        assert '<progress max="2" value="1" aria-label="Updates accepted">' in body
        assert f'Its deadline is <time datetime="{round_.deadline_at.isoformat()}" data-until>' in body


def test_where_enough_updates_are_in_a_round_closes_when_its_grace_is_over(hub, cast, north, south):
    hub.configure(min_updates=1, grace=100, deadline=1000)
    round_ = hub.open_round(north, south)
    north.take_part()
    hub.work()
    round_.refresh_from_db()
    closes = round_.quorum_at + timedelta(seconds=100)
    body = browser(cast.reader).get("/", headers=BROWSER).content.decode()
    assert f'It closes <time datetime="{closes.isoformat()}" data-until>' in body
    assert queries.status(hub.federation)["deadline"] == closes.isoformat()
    hub.configure(deadline=50)
    at_last = round_.first_accepted_at + timedelta(seconds=50)
    assert queries.status(hub.federation)["deadline"] == at_last.isoformat()


def test_nobody_waits_for_a_hospital_whose_agent_was_revoked(hub, cast, north, south):
    hub.open_round(north, south)
    north.take_part()
    hub.work()
    assert queries.headline(hub.federation) == "Round 1 of 1 is collecting: 1 of 2 updates, waiting on South Clinic."
    # The round itself closes only with the next look at it.
    Agent.objects.filter(pk=south.row.pk).update(state="REVOKED")
    assert queries.headline(hub.federation) == "Round 1 of 1 is collecting: 1 of 1 updates."
    assert queries.progress(hub.current_round()).expected == 1


def test_who_came_late_is_among_the_expected(hub, cast, north, south):
    round_ = hub.open_round(north, south)
    Round.objects.update(expected=[str(north.row.pk)])
    south.take_part()
    hub.work()
    assert queries.headline(hub.federation) == "Round 1 of 1 is collecting: 1 of 2 updates, waiting on North Clinic."
    hub.finish_honestly(north)
    row = figures.round_row(Round.objects.get(pk=round_.pk), None)
    assert (row.updates, row.expected) == (2, 2)


def test_a_pause_is_in_the_first_line(hub, cast, north, south):
    hub.open_round(north, south)
    do(cast.admin, f"/runs/{Run.objects.get().pk}/pause")
    assert "waiting on North Clinic, South Clinic. The run is paused after it." in see(cast.reader)


def test_the_hubs_own_time_is_without_its_waiting_for_those_who_never_came(hub, north, south):
    hub.configure(min_updates=1, grace=0)
    round_ = hub.open_round(north, south)
    north.take_part()
    hub.work()
    hub.tick()
    version = ModelVersion.objects.get(round=round_)
    round_.refresh_from_db()
    Round.objects.update(last_accepted_at=round_.last_accepted_at - timedelta(hours=1))
    version = ModelVersion.objects.get(round=round_)
    assert figures.hub_seconds(version) == (version.published_at - round_.closed_at).total_seconds()
    Round.objects.update(expected=[str(north.row.pk)])
    assert figures.hub_seconds(ModelVersion.objects.get(round=round_)) > 3600


def test_a_round_tells_its_story_to_each_reader_without_what_is_anothers(hub, cast, north, south):
    round_ = hub.open_round(north, south)
    south.put(round_.pk, south.seal(south.task(), b"nothing"))
    hub.work()
    hub.finish_honestly(north, south)
    for person, knows in (
        (cast.admin, True),
        (cast.south_doctor, True),
        (cast.north_doctor, False),
        (cast.reader, False),
    ):
        page = see(person, page_of(round_))
        assert "opened round 1, expecting 2 agents" in page
        assert "accepted an update of North Clinic" in page
        assert "ended the round with a new version" in page
        assert ("The update does not fit the model." in page) == knows


def test_the_figures_of_an_update_are_its_hospitals_and_the_administrators(hub, cast, north, south):
    round_ = hub.open_round(north, south)
    hub.finish_honestly(north, south)
    size = round_.updates.get(agent__hospital=cast.north).size
    shown = f"{size / 1000:.1f} kB"
    for person, rows in ((cast.admin, 2), (cast.north_doctor, 1), (cast.south_doctor, 1), (cast.reader, 0)):
        body = browser(person).get(page_of(round_), headers=BROWSER).content.decode()
        table = body.partition('id="updates-table"')[2].partition("</table>")[0]
        assert table.count(f"{shown}</td>") == rows
        assert table.count("that hospital's own") == 2 - rows


def test_a_rounds_time_is_told_in_parts_that_add_up(hub, north, south):
    round_ = hub.open_round(north, south)
    assert figures.phases(round_) == []
    round_ = hub.finish_honestly(north, south)
    parts = figures.phases(round_)
    assert [part.name for part in parts] == [
        "Waiting for the first update",
        "Collecting the others",
        "Aggregating",
        "Evaluating and publishing",
    ]
    assert sum(part.seconds for part in parts) == pytest.approx((round_.ended_at - round_.opened_at).total_seconds())
    assert max(part.share for part in parts) == 100


def test_rounds_lead_to_the_one_before_and_after(hub, cast, north, south):
    hub.open_round(north, south, rounds=2)
    first = hub.finish_honestly(north, south)
    north.poll()
    south.poll()
    hub.work()
    second = hub.current_round()
    assert queries.neighbours(first) == {"before": None, "after": second}
    assert queries.neighbours(second) == {"before": first, "after": None}
    listed = browser(cast.reader).get("/rounds/", headers=BROWSER).content.decode()
    assert [page_of(second), page_of(first)] == re.findall(r'<a href="(/rounds/[^"]+/)">', listed)


def test_a_round_without_enough_updates_says_why_and_what_is_next(hub, cast, north, south):
    round_ = hub.open_round(north, south)
    Round.objects.filter(pk=round_.pk).update(state="FAILED", reason="quorum")
    for address in ("/", page_of(round_)):
        said = "Too few updates came before the deadline. The round is tried again by itself."
        assert said in see(cast.reader, address)
    Run.objects.update(state="ABORTED")
    for address in ("/", page_of(round_)):
        said = "Ask the hospitals that were missing. The round is tried again when a run goes on."
        assert said in see(cast.reader, address)


def test_until_a_new_version_is_measured_the_figures_are_those_of_the_one_before(hub, cast, north, south):
    hub.open_round(north, south, rounds=2)
    hub.finish_honestly(north, south)
    page = see(cast.admin)
    assert "Current model version 2" in page
    assert "accuracy of version 1, the last one measured, between" in page
    assert "By class version 1" in page


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
    assert page.count("Current") == 1


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
