"""Who calls: nobody, a wrong token, a revoked agent, another hospital's agent, an outsider's agent."""

import uuid

import on_disk
import pytest
from hub_client import HubClient
from hub_driver import assert_refused
from site_agent import SLUG, payload, report

from apps.federation.pipeline.revoke import revoke
from hospintel_core import weights

ROUND = uuid.UUID(int=7)
CALLS = {
    "task": lambda client, headers, round_id: client.get(f"/api/v1/federations/{SLUG}/task", headers=headers),
    "head": lambda client, headers, round_id: client.get(f"/api/v1/models/{'0' * 64}", headers=headers),
    "update": lambda client, headers, round_id: client.post_file("/update", b"x", headers=headers),
    "v1-update": lambda client, headers, round_id: client.post_file("/api/v1/update", b"x", headers=headers),
    "put round-update": lambda client, headers, round_id: client.put_bytes(
        f"/api/v1/rounds/{round_id}/update?offset=0",
        b"x",
        headers={**headers, "Upload-Length": "1", "Upload-Digest": "0" * 64},
    ),
    "get round-update": lambda client, headers, round_id: client.get(
        f"/api/v1/rounds/{round_id}/update", headers=headers
    ),
    "round-report": lambda client, headers, round_id: client.post_json(
        f"/api/v1/rounds/{round_id}/report", {"body": "{}", "signature": ""}, headers=headers
    ),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_call_without_a_token_is_refused_and_counted(hub, call):
    assert_refused(CALLS[call](HubClient(), {}, ROUND), 401, "token_missing")
    assert_refused(CALLS[call](HubClient(), {"Authorization": "Basic bm9ydGg6eA=="}, ROUND), 401, "token_missing")
    event = hub.event(code="token_missing")
    assert event["action"].lower().endswith(call.split()[-1])
    assert (event["actor"], event["facts"]["calls"], event["visibility"]) == ("unknown", 2, "admin")


@pytest.mark.parametrize("call", CALLS)
def test_a_call_with_a_wrong_token_is_refused_and_counted(hub, call):
    assert_refused(CALLS[call](HubClient(), {"Authorization": "Bearer wrong"}, ROUND), 401, "token_invalid")
    assert hub.event(code="token_invalid")["outcome"] == "denied"


@pytest.mark.parametrize("call", CALLS)
def test_a_revoked_agent_is_refused_from_its_next_request_on(hub, north, call):
    revoke(north.row, actor="user:1")
    assert_refused(CALLS[call](north.client, north.headers, ROUND), 403, "agent_revoked")
    assert hub.event(code="agent_revoked")["outcome"] == "denied"


@pytest.mark.parametrize("inspected", [True, False])
def test_a_revoked_agents_update_to_an_open_round_does_not_count_and_the_round_goes_on(
    hub, north, south, enrolled, cast, inspected
):
    other = enrolled(cast.north)
    round_ = hub.open_round(north, south, other)
    sealed = north.take_part()
    if inspected:
        hub.work()
    hub.run(revoke(north.row, actor="user:1"))
    assert_refused(north.put(round_.pk, sealed), 403, "agent_revoked")
    hub.finish_honestly(south, other)
    update = round_.updates.get(agent=north.row)
    assert (update.state, update.code) == ("REFUSED", "agent_revoked")
    assert not on_disk.sealed_path(update.pk).exists()


def test_a_revocation_lets_a_round_close_that_waited_for_nobody_else(hub, north, south, enrolled, cast):
    other = enrolled(cast.north)
    round_ = hub.open_round(north, south, other)
    for agent in (south, other):
        agent.take_part()
    hub.work()
    hub.run(revoke(north.row, actor="user:1"))
    hub.work()
    round_.refresh_from_db()
    assert round_.state == "PUBLISHED"


def test_the_token_of_one_hospital_with_the_envelope_of_another_is_refused(hub, north, south):
    round_ = hub.open_round(north, south)
    sealed = south.seal(south.task())
    for answer in (north.put(round_.pk, sealed), north.post(sealed)):
        assert_refused(answer, 422, "update_refused")
    events = hub.events(code="envelope_signer")
    assert [event["action"] for event in events] == ["PUT round-update", "POST update"]
    assert {(event["actor"], event["visibility"]) for event in events} == {
        (north.row.actor, north.row.hospital.visibility)
    }
    hub.finish_honestly(north, south)


def test_an_envelope_that_states_another_agent_than_its_signer_is_refused(hub, north, south):
    round_ = hub.open_round(north, south)
    answer = north.put(round_.pk, north.seal(north.task(), agent_id=south.row.pk))
    assert_refused(answer, 422, "update_refused")
    assert hub.event(code="other_agent")["actor"] == north.row.actor
    hub.finish_honestly(north, south)


def test_a_stolen_token_uploads_nothing(hub, north, south, enrolled, cast):
    """The token reads, the key writes: with North's token and a key of one's own nothing gets in."""
    round_ = hub.open_round(north, south)
    thief = enrolled(cast.island).with_token(north.token)
    sealed = thief.seal(north.task(), agent_id=north.row.pk)
    assert_refused(thief.put(round_.pk, sealed), 422, "update_refused")
    assert hub.event(code="envelope_signer")["actor"] == north.row.actor
    assert north.status(round_.pk)["attempts_left"] == 6
    hub.finish_honestly(north, south)


def test_an_outsiders_agent_finds_nothing(hub, north, south, stranger):
    round_ = hub.open_round(north, south)
    manifest = north.task()
    sealed = stranger.seal(manifest)
    body = stranger.report_body(manifest, report())
    assert_refused(stranger.poll(), 404, "federation_unknown")
    assert_refused(stranger.put(round_.pk, sealed), 404, "round_unknown")
    assert_refused(stranger.post(sealed), 404, "round_unknown")
    assert_refused(stranger.send_report(round_.pk, body), 404, "round_unknown")
    assert_refused(CALLS["get round-update"](stranger.client, stranger.headers, round_.pk), 404, "round_unknown")
    for path in (f"/api/v1/models/{manifest.model}", "/model"):
        assert_refused(stranger.client.get(path, headers=stranger.headers), 404, "model_unknown")
    denied = [event for event in hub.events() if event["outcome"] == "denied"]
    assert len(denied) == 7
    assert {(event["actor"], event["visibility"]) for event in denied} == {
        (stranger.row.actor, stranger.row.hospital.visibility)
    }
    hub.finish_honestly(north, south)


def test_what_does_not_exist_is_answered_like_what_is_not_yours(hub, stranger, north, south):
    round_ = hub.open_round(north, south)
    absent, foreign = (CALLS["get round-update"](stranger.client, stranger.headers, pk) for pk in (ROUND, round_.pk))
    assert absent.content == foreign.content
    absent, foreign = stranger.poll("no-such-federation"), stranger.poll()
    assert absent.content == foreign.content


def test_an_agent_sees_its_own_update_only(hub, north, south):
    round_ = hub.open_round(north, south)
    sealed = north.take_part()
    assert north.status(round_.pk)["state"] == "RECEIVED"
    assert south.status(round_.pk)["state"] is None
    assert south.status(round_.pk, weights.digest(sealed))["received"] == 0


def test_an_upload_of_another_agents_unfinished_part_does_not_go_on_with_it(hub, north, south):
    round_ = hub.open_round(north, south)
    sealed = north.seal(north.task(), payload())
    part = {"length": len(sealed), "digest": weights.digest(sealed)}
    assert north.put(round_.pk, sealed[:1000], **part).json() == {"received": 1000}
    answer = south.put(round_.pk, sealed[1000:], offset=1000, **part)
    assert_refused(answer, 409, "offset_mismatch")
    assert north.put(round_.pk, sealed[1000:], offset=1000, **part).status_code == 202
    hub.work()
    hub.finish_honestly(south)
