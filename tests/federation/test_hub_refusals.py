"""What a refused caller can write into the audit: little, and nothing of their own choice."""

from hub_client import HubClient
from hub_driver import assert_refused

ENROL = "/api/v1/agents/enrol"


def test_a_stranger_chooses_no_word_of_the_audit(hub):
    for number in range(5):
        assert HubClient().generic(f"M{number}", ENROL).status_code == 405
    event = hub.event(code="method_not_allowed")
    assert (event["action"], event["facts"]["calls"]) == ("OTHER enrol", 5)


def test_a_token_holder_cannot_fill_the_audit(hub, north):
    before = len(hub.events())
    for number in range(30):
        assert_refused(north.client.get(f"/api/v1/models/{number}", headers=north.headers), 404, "model_unknown")
    first, repeats = hub.events()[before:]
    assert (first["action"], repeats["action"], repeats["facts"]["calls"]) == ("GET head", "GET head", 29)
    assert {first["actor"], repeats["actor"]} == {north.row.actor}


def test_an_address_that_is_none_is_no_reason_to_fail(hub, north):
    for told in ("x" * 300, "fe80::7%" + "x" * 300):
        answer = north.client.get("/api/v1/models/0", headers=north.headers, REMOTE_ADDR=told)
        assert_refused(answer, 404, "model_unknown")
    assert "address" not in hub.events(code="model_unknown")[0]["facts"]
