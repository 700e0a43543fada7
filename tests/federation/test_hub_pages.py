"""What the portal's pages say, to whom, and in which state of the hub; who may open them at all is in the matrix."""

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from looking import BROWSER, browser, do, page_number, page_of, see
from site_agent import report

from apps.accounts.models import User
from apps.federation import figures, queries
from apps.federation.models import Agent, ModelVersion, Round, Run
from apps.federation.views import rounds
from apps.federation.views.shared_part import parts

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
    assert queries.status(queries.situation(hub.federation))["deadline"] == closes.isoformat()
    hub.configure(deadline=50)
    at_last = round_.first_accepted_at + timedelta(seconds=50)
    assert queries.status(queries.situation(hub.federation))["deadline"] == at_last.isoformat()


def test_the_dashboard_reads_the_round_once_so_that_no_two_parts_tell_of_two_moments(hub, cast, north, south):
    hub.open_round(north, south)
    person = browser(cast.admin)
    with CaptureQueriesContext(connection) as asked:
        assert person.get("/", headers=BROWSER).status_code == 200
    newest = [query for query in asked.captured_queries if '"opened_at" DESC LIMIT 1' in query["sql"]]
    runs = [query for query in asked.captured_queries if 'FROM "federation_run"' in query["sql"]]
    assert (len(newest), len(runs)) == (1, 0)


def test_nobody_waits_for_a_hospital_whose_agent_was_revoked(hub, cast, north, south):
    hub.open_round(north, south)
    north.take_part()
    hub.work()
    assert (
        queries.headline(queries.situation(hub.federation))
        == "Round 1 of 1 is collecting: 1 of 2 updates, waiting on South Clinic."
    )
    # The round itself closes only with the next look at it.
    Agent.objects.filter(pk=south.row.pk).update(state="REVOKED")
    assert queries.headline(queries.situation(hub.federation)) == "Round 1 of 1 is collecting: 1 of 1 update."
    assert queries.progress(hub.current_round()).expected == 1


def test_who_came_late_is_among_the_expected(hub, cast, north, south):
    round_ = hub.open_round(north, south)
    Round.objects.update(expected=[str(north.row.pk)])
    south.take_part()
    hub.work()
    assert (
        queries.headline(queries.situation(hub.federation))
        == "Round 1 of 1 is collecting: 1 of 2 updates, waiting on North Clinic."
    )
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


def test_runs_are_told_with_who_started_them_and_old_rounds_can_be_reached(hub, cast, north, south, monkeypatch):
    monkeypatch.setattr(rounds, "ROUNDS_A_PAGE", 2)
    for _ in range(2):
        hub.open_round(north, south, rounds=2)
        for _ in range(2):
            hub.finish_honestly(north, south)
            for agent in (north, south):
                agent.poll()
            hub.work()
        for agent in (north, south):
            agent.evaluate(report(9))
        hub.work()
    listed = [re.findall(r'<a href="(/rounds/[^"]+/)">', page_number(cast.reader, number)) for number in (1, 2)]
    assert [len(addresses) for addresses in listed] == [2, 2]
    newest_first = Round.objects.order_by("-opened_at")
    assert [*listed[0], *listed[1]] == [page_of(round_) for round_ in newest_first]
    page = see(cast.reader, "/rounds/")
    assert "Run of 2 rounds Done 2 published, 5 epochs each, started by An administrator" in page
    assert "1 to 2 of 4 rounds" in page
    name = User.objects.get(pk=1).username
    assert f"started by {name}" in see(cast.admin, "/rounds/?page=2")
    # A number that is none is the first page, one beyond the end the last.
    assert "1 to 2 of 4 rounds" in see(cast.reader, "/rounds/?page=x")
    assert "3 to 4 of 4 rounds" in see(cast.reader, "/rounds/?page=99")


def test_a_run_that_waits_for_its_first_round_is_listed(hub, cast):
    hub.start_run(3)
    page = see(cast.reader, "/rounds/")
    assert "Run of 3 rounds Running 0 published" in page
    assert "No round has opened yet." in page


def test_a_round_without_enough_updates_says_why_and_what_is_next(hub, cast, north, south):
    round_ = hub.open_round(north, south)
    Round.objects.filter(pk=round_.pk).update(state="FAILED", reason="quorum")
    for address in ("/", page_of(round_)):
        said = "Too few updates came before the deadline. The round is tried again by itself."
        assert said in see(cast.reader, address)
    Run.objects.update(state="ABORTED")
    # No entry of the audit tells of these changes.
    parts.forget()
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
