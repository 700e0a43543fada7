"""What anyone may know (`/`, `/status`, `/public_key`, `/identity`), and which events a person may see."""

from datetime import datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from hub_client import HubClient
from hub_driver import assert_refused
from site_agent import report

from apps.federation import queries
from apps.federation.models import HubKey
from apps.federation.pipeline import keys
from apps.federation.visibility import own_hospitals
from hospintel_core import identity, signing

BOTH = pytest.mark.parametrize("prefix", ["/", "/api/v1/"])


def idle(hub, **changes):
    """What the hub answers while no round is open."""
    hub.federation.refresh_from_db()
    return {
        "round": 0,
        "pending_updates": 0,
        "required_updates": 2,
        "clients_online": 0,
        "state": "IDLE",
        "deadline": None,
        "version": 1,
        "model": hub.federation.current.digest,
        "architecture": "pixels-head16",
    } | changes


def get_status(prefix="/"):
    answer = HubClient().get(f"{prefix}status")
    assert answer.status_code == 200
    return answer.json()


@BOTH
def test_the_status_of_an_idle_hub(hub, prefix):
    assert get_status(prefix) == idle(hub)


def test_the_status_follows_a_round(hub, north, south):
    round_ = hub.open_round(north, south)
    assert get_status() == idle(hub, round=1, clients_online=2, state="COLLECTING")
    north.take_part()
    assert get_status()["pending_updates"] == 1
    hub.work()
    round_.refresh_from_db()
    status = get_status()
    assert status["pending_updates"] == 1
    waited = datetime.fromisoformat(status["deadline"]) - round_.first_accepted_at
    assert waited.total_seconds() == hub.federation.deadline
    hub.finish_honestly(south)
    assert get_status() == idle(hub, round=1, clients_online=2, version=2)


def test_the_status_of_a_federation_is_found_under_its_name(hub):
    assert HubClient().get("/api/v1/federations/brain-mri/status").json() == get_status()
    assert_refused(HubClient().get("/api/v1/federations/other/status"), 404, "not_found")


@BOTH
def test_the_public_key_is_the_active_rsa_key(hub, prefix):
    answer = HubClient().get(f"{prefix}public_key")
    assert answer.headers["Content-Type"] == "application/x-pem-file"
    key = load_pem_public_key(answer.content)
    assert isinstance(key, RSAPublicKey)
    assert key.key_size == 3072


def test_anyone_can_follow_the_hubs_identity_from_the_first_to_the_newest(hub, own_keys):
    first = keys.identity_public()
    for _ in range(2):
        keys.rotate(HubKey.Kind.IDENTITY, actor="user:1")
    keys.destroy_retired(HubKey.Kind.IDENTITY, actor="user:1")
    answer = HubClient().get("/api/v1/identity")
    assert answer.status_code == 200
    chain = [identity.Link.from_wire(entry) for entry in answer.json()["chain"]]
    newest = keys.identity_public()
    assert (chain[0].public_key, chain[-1]) == (newest, identity.Link(first, b"", b""))
    assert len(chain) == 3
    assert identity.follow(first, chain, signing.key_id(newest)) == newest


def test_admins_find_the_hubs_fingerprint(hub, cast):
    client = HubClient()
    client.force_login(cast.admin)
    key = HubKey.objects.get(kind=HubKey.Kind.IDENTITY)
    page = client.get(f"/admin/federation/hubkey/{key.pk}/change/").content.decode()
    assert signing.fingerprint(keys.identity_public()) in page


def test_programs_get_a_sign_of_life_and_browsers_the_login(hub):
    alive = {"status": "active", "message": "Secure Federated Learning Server Online"}
    assert HubClient().get("/").json() == alive
    answer = HubClient().get("/", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.headers["Location"]) == (302, "/accounts/login/?next=/")


def test_the_headline_says_what_is_going_on(hub, north, south):
    assert queries.headline(queries.situation(hub.federation)) == (
        "Nothing has been trained yet. Enrol the hospitals' agents and start a run."
    )
    hub.start_run()
    assert queries.headline(queries.situation(hub.federation)) == "The run waits until 2 agents are online; 0 are."
    for agent in (north, south):
        agent.poll()
    hub.work()
    north.take_part()
    hub.work()
    assert (
        queries.headline(queries.situation(hub.federation))
        == "Round 1 of 1 is collecting: 1 of 2 updates, waiting on South Clinic."
    )
    hub.finish_honestly(south)
    assert queries.headline(queries.situation(hub.federation)) == "The agents are evaluating the run's last version."


def events_of(person, after=0):
    client = HubClient()
    if person is not None:
        client.force_login(person)
    seen = []
    while page := client.get(f"/api/v1/events?after={after}").json()["events"]:
        seen += page
        after = page[-1]["seq"]
    return seen


@pytest.fixture
def busy(hub, north, south, stranger):
    """A hub on which North was refused as an agent and in an update, and strangers were too."""
    round_ = hub.open_round(north, south)
    north.put(round_.pk, b"nonsense")
    north.put(round_.pk, north.seal(north.task(), num_samples=0))
    north.put(round_.pk, north.seal(north.task(), b"nothing"))
    HubClient().get("/api/v1/federations/brain-mri/task")
    stranger.poll()
    hub.work()
    hub.finish_honestly(north, south)
    hub.events()
    return hub


def codes(events):
    return {event["facts"]["code"] for event in events if event["outcome"] in {"refused", "denied"}}


NORTHS = {"envelope_truncated", "num_samples_range", "weights_length"}


def test_a_hospitals_refusals_are_seen_by_its_doctors_and_by_admins_alone(busy, cast):
    assert codes(events_of(cast.north_doctor)) == NORTHS
    assert codes(events_of(cast.south_doctor)) == set()
    assert codes(events_of(cast.reader)) == set()
    assert codes(events_of(cast.admin)) == NORTHS | {"token_missing", "federation_unknown"}


def test_what_everyone_may_see_is_the_same_for_all_hospitals(busy, cast):
    north, south, reader = (
        [event for event in events_of(person) if event["visibility"] == "everyone"]
        for person in (cast.north_doctor, cast.south_doctor, cast.reader)
    )
    assert north == south == reader
    assert {"round.open", "update.accepted", "version.published"} <= {event["action"] for event in north}


def test_no_event_of_everyone_carries_what_is_a_hospitals_own(busy, cast, north):
    """Others see that a hospital took part; its counts, bytes and norms are its own and the admins'."""
    for event in events_of(cast.reader):
        if event["object"].startswith("update:") or event["action"].startswith("evaluation."):
            assert not {"samples", "size", "norm", "scans", "correct", "validated"} & set(event["facts"]), event
    counted = [event for event in events_of(cast.north_doctor) if event["action"].endswith(".counted")]
    assert [event["facts"]["samples"] for event in counted] == [100]


def test_events_go_on_after_the_last_one_seen(busy, cast):
    everything = events_of(cast.admin)
    middle = everything[len(everything) // 2]["seq"]
    assert events_of(cast.admin, after=middle) == [event for event in everything if event["seq"] > middle]
    client = HubClient()
    client.force_login(cast.admin)
    for text in ("x", "-1", "9" * 30, ""):
        assert client.get("/api/v1/events", {"after": text}).json()["events"][0]["seq"] == 1


def test_strangers_and_agents_see_no_events(busy, north):
    assert_refused(HubClient().get("/api/v1/events"), 403, "not_authenticated")
    assert_refused(HubClient().get("/api/v1/events", headers=north.headers), 403, "not_authenticated")


@pytest.mark.parametrize("who", ["admin", "north_doctor", "south_doctor", "reader"])
def test_the_dashboard_shows_its_reader_what_is_going_on_and_no_other_hospitals_refusals(busy, cast, who):
    client = HubClient()
    client.force_login(getattr(cast, who))
    for headers in ({}, {"X-Fragment": "live"}):
        answer = client.get("/", headers={"Accept": "text/html", **headers})
        page = answer.content.decode()
        assert answer.status_code == 200
        # Django's autoescape spells the apostrophe.
        assert "The agents are evaluating the run&#x27;s last version." in page
        assert "North Clinic" in page
        # Its agent sent another one, which counts: there is nothing to do any more.
        assert "North Clinic, round 1:" not in page


def people(cast):
    """Who may see what is North Clinic's own, and who may not."""
    return (cast.admin, True), (cast.north_doctor, True), (cast.south_doctor, False), (cast.reader, False)


def seen_of_north(person):
    client = HubClient()
    client.force_login(person)
    page = client.get("/", headers={"Accept": "text/html"}).content.decode()
    row = page[page.index('<span class="name">North Clinic</span>') :]
    return row[: row.index("<li>")]


def test_the_state_of_a_refused_update_is_its_hospitals_own(hub, cast, north, south):
    hub.open_round(north, south)
    sealed = north.seal(north.task(), b"nothing")
    north.put(hub.current_round().pk, sealed)
    hub.work()
    for person, knows in (
        (cast.admin, True),
        (cast.north_doctor, True),
        (cast.south_doctor, False),
        (cast.reader, False),
    ):
        assert ("Refused" in seen_of_north(person)) == knows
        client = HubClient()
        client.force_login(person)
        page = client.get("/", headers={"Accept": "text/html"}).content.decode()
        assert ("North Clinic, round 1: The update does not fit the model." in page) == knows
        # For the others it is as if the agent went on training, which it does.
        assert ("Training</span>" in seen_of_north(person)) != knows


@pytest.fixture
def judged_by_north(hub, north, south):
    """North alone has measured version 2, and judged it."""
    hub.configure(evaluate_quorum=1)
    hub.open_round(north, south)
    for agent in (north, south):
        agent.take_part()
    hub.work()
    north.evaluate(report(9))
    hub.work()
    return hub


def test_what_fewer_than_three_hospitals_measured_is_their_own(judged_by_north, cast):
    hub = judged_by_north
    for person, knows in (
        (cast.admin, True),
        (cast.north_doctor, True),
        (cast.south_doctor, False),
        (cast.reader, False),
    ):
        newest, first = queries.version_rows(hub.federation, own_hospitals(person))
        assert (newest.measured.agents, newest.measured.n) == ((1, 10) if knows else (0, 0))
        assert (newest.measured.accuracy, newest.measured.loss) == ((0.9, 0.5) if knows else (None, None))
        # Of two, each would learn the other's: they see their own.
        pooled = {cast.admin: (2, 0.8, 20), cast.reader: (0, None, 0)}.get(person, (1, 0.8, 10))
        assert (first.measured.agents, first.measured.accuracy, first.measured.n) == pooled
        assert (first.measured.own, first.measured.withheld) == (person != cast.admin, person != cast.admin)
        client = HubClient()
        client.force_login(person)
        assert ("0.9000" in client.get("/", headers={"Accept": "text/html"}).content.decode()) == knows


def test_an_alarms_figures_are_for_admins(hub, cast):
    hub.federation.versions.update(alarm="accuracy 0.1234, its parent had 0.8000 with the same 1 agent")
    assert queries.version_rows(hub.federation, own_hospitals(cast.admin))[0].alarm.startswith("accuracy 0.1234")
    assert queries.version_rows(hub.federation, own_hospitals(cast.reader))[0].alarm == "worse than its parent"
