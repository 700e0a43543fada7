"""Runs: several rounds, pause, resume, abort, who may steer them, and what a publication from outside does."""

import uuid

import pytest
from hub_client import HubClient
from hub_driver import assert_refused
from site_agent import SCHEMA, SLUG, delta, report

from apps.federation import queries
from apps.federation.hospitals import contributions
from apps.federation.ladder import places
from apps.federation.models import ModelVersion, Round, Run
from apps.federation.news import newest
from apps.federation.pipeline import keys, runs, storage
from apps.federation.pipeline.publish import publish
from apps.federation.pipeline.step import Next
from hospintel_core import weights

RUNS = f"/api/v1/federations/{SLUG}/runs"


def sign_in(user, **options):
    client = HubClient(**options)
    client.force_login(user)
    return client


@pytest.fixture
def admin(cast, hub):
    return sign_in(cast.admin)


def steer(client, run, verb):
    return client.post_json(f"{RUNS}/{run.pk}/{verb}", {})


def state_of(run):
    run.refresh_from_db()
    return run.state


def test_a_run_of_three_rounds_makes_three_versions_and_ends_with_an_evaluation(hub, north, south):
    hub.open_round(north, south, rounds=3)
    rounds = [hub.finish_honestly(north, south) for _ in range(3)]
    run = rounds[0].run
    assert [(round_.number, round_.attempt) for round_ in rounds] == [(1, 1), (2, 1), (3, 1)]
    versions = list(ModelVersion.objects.order_by("number"))
    assert [version.number for version in versions] == [1, 2, 3, 4]
    assert [version.parent for version in versions[1:]] == versions[:3]
    assert [round_.base for round_ in rounds] == versions[:3]
    assert len({version.digest for version in versions}) == 4
    hub.federation.refresh_from_db()
    assert hub.federation.current == versions[3]
    assert state_of(run) == "RUNNING"
    for agent in (north, south):
        assert agent.evaluate(report()).status_code == 200
        hub.work()
    assert state_of(run) == "DONE"
    assert run.ended_at is not None
    assert north.task() is None
    assert hub.event(action="run.done")["object"] == f"run:{run.pk}"


def test_a_paused_run_finishes_its_round_and_opens_no_other(hub, north, south, admin):
    round_ = hub.open_round(north, south, rounds=2)
    assert steer(admin, round_.run, "pause").json()["state"] == "PAUSED"
    hub.finish_honestly(north, south)
    north.poll()
    hub.tick()
    hub.run([Next("open", round_.run_id)])
    assert Round.objects.count() == 1
    assert steer(admin, round_.run, "resume").json()["state"] == "RUNNING"
    hub.work()
    assert hub.current_round().number == 2
    hub.finish_honestly(north, south)


def test_an_aborted_run_publishes_nothing_and_keeps_nothing(hub, north, south, admin):
    round_ = hub.open_round(north, south)
    late = south.seal(south.task())
    north.take_part()
    hub.work()
    assert steer(admin, round_.run, "abort").json()["state"] == "ABORTED"
    hub.work()
    round_.refresh_from_db()
    assert (round_.state, round_.reason) == ("FAILED", "aborted")
    assert hub.files() == set()
    assert not keys.has_round_key(round_.pk)
    assert north.status(round_.pk)["state"] == "ACCEPTED"
    assert_refused(south.put(round_.pk, late), 409, "round_closed")
    assert south.task() is None
    hub.tick()
    assert ModelVersion.objects.count() == Round.objects.count() == 1


def test_an_update_that_waits_for_inspection_when_the_run_is_aborted_is_refused(hub, north, south, admin):
    round_ = hub.open_round(north, south)
    north.take_part()
    inspection = hub.queued()
    steer(admin, round_.run, "abort")
    hub.work()
    assert (north.status(round_.pk)["state"], north.status(round_.pk)["code"]) == ("REFUSED", "run_aborted")
    assert north.status(round_.pk)["detail"] == "The run was aborted before the update was used."
    hub.do(inspection)
    assert hub.event(code="run_aborted")["action"] == "update.refused"
    assert hub.files() == set()


def test_an_update_that_an_aborted_run_left_unused_raises_no_alarm(hub, north, south, admin, cast):
    round_ = hub.open_round(north, south)
    north.take_part()
    steer(admin, round_.run, "abort")
    hub.work()
    assert north.status(round_.pk)["code"] == "run_aborted"
    assert queries.trouble(queries.situation(hub.federation), None) == []
    place = next(found for found in places(hub.federation, round_, None) if found.hospital == "North Clinic")
    assert (place.said, [rung.state for rung in place.rungs][-1]) == ("Not used", "ahead")
    told = next(item for item in newest(cast.admin, 20) if item.did.startswith("refused an update"))
    assert (told.did, told.outcome) == (
        "refused an update of North Clinic: The run was aborted before the update was used.",
        "ok",
    )
    assert contributions(north.row.hospital).refused == 0
    for page in ("/", f"/rounds/{round_.pk}/", "/hospitals/north-clinic/"):
        shown = admin.get(page, headers={"Accept": "text/html"}).content.decode()
        assert "Not used" in shown, page
        assert "Refused</span>" not in shown
        assert "had closed" not in shown


def test_an_update_that_is_inspected_between_the_end_of_its_round_and_the_cleaning_is_refused(hub, north, south):
    round_ = hub.open_round(north, south)
    north.take_part()
    runs.abort(round_.run, actor="user:1")
    assert keys.has_round_key(round_.pk)
    hub.work()
    assert (north.status(round_.pk)["state"], north.status(round_.pk)["code"]) == ("REFUSED", "run_aborted")
    assert hub.files() == set()


def test_after_an_aborted_run_another_one_starts(hub, north, south, admin):
    round_ = hub.open_round(north, south)
    assert_refused(admin.post_json(RUNS, {"rounds": 1}), 409, "run_active")
    steer(admin, round_.run, "abort")
    hub.work()
    answer = admin.post_json(RUNS, {"rounds": 1})
    assert answer.status_code == 201
    hub.work()
    hub.finish_honestly(north, south)


def test_a_run_starts_with_the_federations_plan_and_what_differs_from_it(hub, admin, cast):
    answer = admin.post_json(RUNS, {"rounds": 2, "plan": {"epochs": 7}})
    assert answer.status_code == 201
    run = Run.objects.get(pk=answer.json()["id"])
    assert answer.json() == {"id": str(run.pk), "rounds": 2, "state": "RUNNING", "plan": run.plan}
    assert run.plan == {**hub.federation.plan, "epochs": 7}
    event = hub.event(action="run.start")
    assert (event["actor"], event["facts"]["rounds"], event["facts"]["epochs"]) == (f"user:{cast.admin.pk}", 2, 7)


WRONG_RUNS = {
    "no rounds": ({"rounds": 0}, "rounds_range"),
    "too many rounds": ({"rounds": 1001}, "rounds_range"),
    "no epochs": ({"rounds": 1, "plan": {"epochs": 0}}, "plan_range"),
    "epochs in words": ({"rounds": 1, "plan": {"epochs": "5"}}, "plan_field"),
    "an unknown field": ({"rounds": 1, "plan": {"code": "import os"}}, "plan_unknown_field"),
    "rounds missing": ({}, "bad_request"),
}


@pytest.mark.parametrize("case", WRONG_RUNS)
def test_a_run_with_a_wrong_number_or_plan_is_refused(hub, admin, cast, case):
    body, code = WRONG_RUNS[case]
    assert_refused(admin.post_json(RUNS, body), 400, code)
    assert hub.event(code=code)["actor"] == f"user:{cast.admin.pk}"
    assert not Run.objects.exists()


@pytest.mark.parametrize("who", ["north_doctor", "reader", "nobody", "an agent"])
def test_only_an_admin_starts_and_steers_runs(hub, north, cast, who):
    run = hub.start_run()
    client = HubClient()
    if who == "an agent":
        client.defaults["HTTP_AUTHORIZATION"] = north.headers["Authorization"]
    elif who != "nobody":
        client.force_login(getattr(cast, who))
    code = "not_authenticated" if who in {"nobody", "an agent"} else "permission_denied"
    for answer in [client.post_json(RUNS, {"rounds": 1}), *(steer(client, run, verb) for verb in ("pause", "abort"))]:
        assert_refused(answer, 403, code)
    assert state_of(run) == "RUNNING"
    denied = [event for event in hub.events(code=code) if event["outcome"] == "denied"]
    person = getattr(cast, who, None)
    assert {event["actor"] for event in denied} == {f"user:{person.pk}" if person else "unknown"}
    assert {event["visibility"] for event in denied} == {"admin"}


def test_a_request_of_an_admins_browser_that_another_site_forged_is_refused(hub, cast):
    client = sign_in(cast.admin, enforce_csrf_checks=True)
    assert_refused(client.post_json(RUNS, {"rounds": 1}), 403, "permission_denied")
    assert not Run.objects.exists()


def test_what_cannot_be_steered_is_not_found(hub, admin):
    run = hub.start_run()
    assert_refused(steer(admin, run, "explode"), 404, "not_found")
    assert_refused(admin.post_json(f"{RUNS}/{uuid.uuid4()}/pause", {}), 404, "not_found")
    assert_refused(admin.post_json("/api/v1/federations/other/runs", {"rounds": 1}), 404, "not_found")


@pytest.mark.parametrize(
    ("before", "verb"), [([], "resume"), (["pause"], "pause"), (["abort"], "resume"), (["abort"], "abort")]
)
def test_a_step_that_the_runs_state_does_not_allow_is_refused(hub, admin, before, verb):
    run = hub.start_run()
    for earlier in before:
        assert steer(admin, run, earlier).status_code == 200
    state = state_of(run)
    assert_refused(steer(admin, run, verb), 409, "run_state")
    assert state_of(run) == state
    assert hub.event(code="run_state")["outcome"] == "denied"


def test_steering_from_an_old_page_is_refused_and_says_what_the_run_is(hub, admin):
    run = hub.start_run()
    seen = Run.objects.get()
    runs.abort(run, actor="user:1")
    with pytest.raises(runs.Refusal, match="ABORTED"):
        runs.pause(seen, actor="user:1")


def outside_version(hub, seed):
    """A version that comes from outside the run, as an approved proposal does."""
    head = storage.read_head(hub.federation.current.digest, SCHEMA)
    digest = storage.store_head(weights.dumps({name: head[name] + delta(seed)[name] for name in head}))
    return ModelVersion.objects.create(
        federation=hub.federation, digest=digest, source="ROLLBACK", parent=hub.federation.current
    )


def test_publishing_from_outside_ends_the_open_round_and_opens_one_from_the_new_base(hub, north, south):
    round_ = hub.open_round(north, south)
    north.take_part()
    hub.work()
    old = south.seal(south.task())
    version = outside_version(hub, 9)
    hub.run(publish(version, actor="user:1"))
    round_.refresh_from_db()
    assert (round_.state, round_.reason) == ("FAILED", "superseded")
    assert hub.files() == set()
    assert not keys.has_round_key(round_.pk)
    again = hub.current_round()
    assert (again.number, again.attempt, again.base) == (1, 2, version)
    assert (version.number, version.state) == (2, "PUBLISHED")
    assert_refused(south.put(round_.pk, old), 409, "round_closed")
    assert north.task().model == version.digest
    hub.finish_honestly(north, south)


def test_publishing_the_same_version_twice_publishes_it_once(hub):
    version = outside_version(hub, 9)
    hub.run(publish(ModelVersion.objects.get(pk=version.pk), actor="user:1"))
    assert publish(version, actor="user:2") == []
    assert ModelVersion.objects.filter(number__isnull=False).count() == 2
    assert len(hub.events(action="version.published")) == 2
