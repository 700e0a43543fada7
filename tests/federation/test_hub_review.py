"""What an admin decides: a held version is published or rejected, an old one comes back, a run is steered."""

import uuid

import on_disk
import pytest
from django.core.management import CommandError
from hub_client import HubClient
from hub_driver import assert_refused
from site_agent import report
from typing_in import typed

from apps.federation import queries
from apps.federation.models import ModelVersion
from apps.federation.pipeline.review import decision_of


def sign_in(user, **options):
    client = HubClient(**options)
    client.force_login(user)
    return client


def decide(client, version, verb, **body):
    return client.post_json(f"/api/v1/models/{version.pk}/{verb}", body)


@pytest.fixture
def admin(hub, cast):
    return sign_in(cast.admin)


@pytest.fixture
def held(hub, north, south):
    """A candidate that the gate held; its run is paused."""
    hub.configure(evaluate_quorum=2)
    round_ = hub.open_round(north, south, rounds=2)
    for agent in (north, south):
        agent.take_part()
    hub.work()
    for agent in (north, south):
        agent.evaluate(report(5))
    hub.work()
    round_.refresh_from_db()
    assert (round_.state, round_.run.state) == ("HELD", "PAUSED")
    return round_.version


@pytest.fixture
def two(hub, north, south):
    """Versions 1 and 2, and no active run."""
    hub.open_round(north, south)
    round_ = hub.finish_honestly(north, south)
    for agent in (north, south):
        agent.evaluate(report())
        hub.work()
    return ModelVersion.objects.get(number=1), round_.version


def current(hub):
    hub.federation.refresh_from_db()
    return hub.federation.current


def test_a_held_version_is_published_all_the_same_and_the_run_goes_on_from_it(hub, held, admin, north):
    assert queries.headline(queries.situation(hub.federation)) == (
        f"The run is paused: version {held.digest[:12]} is held until an admin publishes or rejects it."
    )
    answer = decide(admin, held, "publish", reason="scanner change")
    assert answer.status_code == 200
    found = answer.json()
    assert (found["number"], found["state"], found["digest"]) == (2, "PUBLISHED", held.digest)
    assert found["verdict"].endswith("; published by an admin: scanner change")
    hub.work()
    assert current(hub) == held
    assert hub.current_round().run.state == "PAUSED"
    assert typed("run", "resume")[0].endswith(" is RUNNING\n")
    hub.work()
    assert north.task().model == held.digest
    entry = hub.events(action="version.published")[-1]
    assert (entry["object"], entry["facts"]["was"]) == (f"version:{held.pk}", "HELD")
    assert entry["actor"].startswith("user:")


def test_a_held_version_is_rejected_for_good(hub, held, admin):
    before = current(hub)
    assert_refused(decide(admin, held, "reject"), 400, "reason_missing")
    assert_refused(decide(admin, held, "reject", reason="  "), 400, "reason_missing")
    answer = decide(admin, held, "reject", reason="blurred scans")
    assert (answer.status_code, answer.json()["state"], answer.json()["number"]) == (200, "REJECTED", None)
    assert answer.json()["verdict"].endswith("; rejected by an admin: blurred scans")
    assert current(hub) == before
    for verb in ("publish", "reject", "rollback"):
        assert_refused(decide(admin, held, verb, reason="again"), 409, "version_state")
    assert queries.headline(queries.situation(hub.federation)) == "The run is paused."
    typed("run", "resume")
    hub.work()
    assert (hub.current_round().base, hub.current_round().attempt) == (before, 2)


def test_only_what_is_held_is_decided_about(two, admin):
    for version in two:
        for verb in ("publish", "reject"):
            assert_refused(decide(admin, version, verb, reason="because"), 409, "version_state")


def test_an_old_version_comes_back_under_a_new_number(hub, two, admin):
    first, second = two
    answer = decide(admin, first, "rollback", reason="worse in the clinic")
    found = answer.json()
    assert (answer.status_code, found["number"], found["digest"]) == (200, 3, first.digest)
    assert found["verdict"] == "rolled back to version 1: worse in the clinic"
    again = current(hub)
    assert (str(again.pk), again.source, again.parent, again.state) == (found["id"], "ROLLBACK", first, "PUBLISHED")
    entry = hub.event(action="version.rollback")
    assert (entry["object"], entry["facts"]["to"]) == (f"version:{again.pk}", 1)
    assert entry["facts"]["reason"] == "worse in the clinic"
    hub.work()
    assert on_disk.file_path(first.digest).exists()
    assert_refused(decide(admin, first, "rollback"), 409, "version_current")
    assert decide(admin, second, "rollback").json()["number"] == 4
    assert "reason" not in hub.events(action="version.rollback")[-1]["facts"]


def test_going_back_supersedes_the_open_round(hub, north, south, admin):
    hub.open_round(north, south, rounds=3)
    hub.finish_honestly(north, south)
    open_round = hub.current_round()
    first = ModelVersion.objects.get(number=1)
    decide(admin, first, "rollback")
    hub.work()
    open_round.refresh_from_db()
    assert (open_round.state, open_round.reason) == ("FAILED", "superseded")
    assert north.task().model == first.digest
    hub.finish_honestly(north, south)


def test_a_reason_is_short(hub, held, admin):
    for verb in ("publish", "reject", "rollback"):
        assert_refused(decide(admin, held, verb, reason="x" * 81), 400, "reason_long")
    held.refresh_from_db()
    assert held.state == "HELD"


@pytest.mark.parametrize("who", ["north_doctor", "reader"])
def test_only_admins_decide(held, cast, who):
    for verb in ("publish", "reject", "rollback"):
        assert_refused(decide(sign_in(getattr(cast, who)), held, verb), 403, "permission_denied")
    assert_refused(decide(HubClient(), held, "publish"), 403, "not_authenticated")


def test_a_decision_needs_a_version_a_verb_and_a_csrf_token(held, admin, cast):
    assert_refused(decide(admin, held, "praise"), 404, "not_found")
    assert_refused(admin.post_json(f"/api/v1/models/{uuid.uuid4()}/publish", {}), 404, "not_found")
    assert decide(sign_in(cast.admin, enforce_csrf_checks=True), held, "publish").status_code == 403


def test_the_command_lists_versions_and_decides_by_digest_and_number(hub, held):
    lines = typed("versions", "list")[0].splitlines()
    assert [line.split()[:3] for line in lines] == [
        ["*", "1", current(hub).digest[:12]],
        ["-", held.digest[:12], "HELD"],
    ]
    assert typed("versions", "publish", held.digest[:8], "--reason", "looked at it")[0] == (
        f"{held.digest[:12]} is PUBLISHED as version 2\n"
    )
    assert current(hub) == held
    assert typed("versions", "rollback", "1")[0] == "version 3 is version 1 again\n"
    assert current(hub).digest == ModelVersion.objects.get(number=1).digest


def test_the_command_says_what_it_cannot_do(hub, held):
    with pytest.raises(CommandError, match="0 versions are called '7'"):
        typed("versions", "publish", "7")
    with pytest.raises(CommandError, match="Which version"):
        typed("versions", "reject")
    with pytest.raises(CommandError, match=r"\(version_state\)"):
        typed("versions", "publish", "1")
    with pytest.raises(CommandError, match="2 versions are called"):
        typed("versions", "reject", "")
    with pytest.raises(CommandError, match=r"\(reason_missing\)"):
        typed("versions", "reject", held.digest)
    assert typed("versions", "reject", held.digest, "--reason", "no")[0] == f"{held.digest[:12]} is REJECTED\n"


def test_a_run_is_steered_by_command(hub, north, south):
    with pytest.raises(CommandError, match="No run is active"):
        typed("run", "pause")
    run = hub.open_round(north, south).run
    assert typed("run", "pause")[0] == f"{run.pk} is PAUSED\n"
    with pytest.raises(CommandError, match=r"\(run_state\)"):
        typed("run", "pause")
    typed("run", "resume")
    assert typed("run", "abort")[0] == f"{run.pk} is ABORTED\n"
    hub.work()
    assert hub.current_round().reason == "aborted"


@pytest.mark.parametrize(
    ("verdict", "decided"),
    [
        ("not evaluated", ("", "")),
        ("proposed by ann", ("", "")),
        ("proposed by ann; published by an admin", ("published by an admin", "")),
        ("accuracy 0.5; rejected by an admin: too few; from one", ("rejected by an admin", "too few; from one")),
        ("rolled back to version 12: as: it was", ("rolled back to version 12", "as: it was")),
        (
            "a; published by an admin: b; rejected by an admin: c",
            ("published by an admin", "b; rejected by an admin: c"),
        ),
    ],
)
def test_a_verdict_tells_who_decided_and_why(verdict, decided):
    assert decision_of(verdict) == decided
