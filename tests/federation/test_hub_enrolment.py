import threading
from datetime import timedelta

import pytest
import time_machine
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import connection, connections
from django.utils import timezone
from hub_client import HubClient
from hub_driver import assert_refused
from site_agent import b64

from apps.federation.models import Agent, EnrolmentCode
from apps.federation.pipeline import enrol, tick
from apps.federation.pipeline.enrol import secret_hash
from hospintel_core import signing

ENROL = "/api/v1/agents/enrol"


@pytest.fixture
def code(hub, cast):
    return enrol.issue_code(cast.north, actor="user:1", max_samples=321)[0]


def request_of(code, key=None, **changes):
    key = key or Ed25519PrivateKey.generate()
    raw = signing.public_raw(key.public_key())
    proof = signing.sign(signing.DOMAIN_ENROL, signing.enrol_proof_message(code, raw), key)
    return {"code": code, "public_key": b64(raw), "proof": b64(proof), "agent_version": "0.1.0"} | changes


def enrol_with(code, **changes):
    return HubClient().post_json(ENROL, request_of(code, **changes))


def assert_nothing_lost(code):
    """The code still enrols one agent."""
    assert enrol_with(code).status_code == 201


def test_a_code_enrols_one_agent_and_the_answer_has_all_it_needs(hub, code, north):
    answer = enrol_with(code)
    found = answer.json()
    assert answer.status_code == 201
    assert (found["hospital"], found["federations"]) == ("North Clinic", ["brain-mri"])
    assert found["hub_identity"] == b64(signing.public_raw(north.credentials.identity))
    assert found["hub_fingerprint"] == signing.fingerprint(north.credentials.identity)
    agent = Agent.objects.get(pk=found["agent_id"])
    assert (agent.max_samples, agent.version, agent.token_hash) == (321, "0.1.0", secret_hash(found["token"]))
    event = hub.events(action="agent.enrol")[-1]
    assert (event["actor"], event["facts"]["key"]) == (agent.actor, agent.fingerprint)


@pytest.mark.skipif(connection.vendor != "sqlite", reason="reads the database as a file")
def test_neither_code_nor_token_is_stored_in_clear(code, tmp_path):
    token = enrol_with(code).json()["token"]
    connections.close_all()
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("hub.sqlite3*"))
    assert secret_hash(code).encode() in stored
    assert code.encode() not in stored
    assert token.encode() not in stored


def test_a_wrong_code_is_refused_and_counted_for_its_address(hub, code):
    for _ in range(3):
        assert_refused(enrol_with("wrong"), 403, "code_unknown")
    event = hub.event(code="code_unknown")
    assert event["action"] == "POST enrol"
    assert event["facts"].items() >= {"address": "127.0.0.1", "calls": 3}.items()
    assert (event["actor"], event["visibility"]) == ("unknown", "admin")
    assert_nothing_lost(code)


def test_a_used_code_is_refused(hub, code):
    assert enrol_with(code).status_code == 201
    before = Agent.objects.count()
    assert_refused(enrol_with(code), 403, "code_used")
    assert Agent.objects.count() == before
    assert hub.event(code="code_used")["outcome"] == "denied"


def test_a_code_expires_after_its_hour(hub, code):
    with time_machine.travel(timezone.now() + timedelta(minutes=61)):
        assert_refused(enrol_with(code), 403, "code_expired")
        assert hub.event(code="code_expired")["outcome"] == "denied"
        tick.housekeeping()
        assert EnrolmentCode.objects.get(code_hash=secret_hash(code)).state == "EXPIRED"
        assert_refused(enrol_with(code), 403, "code_expired")
    assert len(hub.events(action="code.expired")) == 1


def test_a_code_works_until_its_hour_is_over(code):
    with time_machine.travel(timezone.now() + timedelta(minutes=59)):
        tick.housekeeping()
        assert enrol_with(code).status_code == 201


def proof_by_another_key(code):
    return request_of(code, proof=request_of(code)["proof"])


def proof_for_another_code(code):
    key = Ed25519PrivateKey.generate()
    return request_of(code, proof=request_of("another code", key)["proof"], key=key)


def proof_in_another_domain(code):
    key = Ed25519PrivateKey.generate()
    message = signing.enrol_proof_message(code, signing.public_raw(key.public_key()))
    return request_of(code, key=key, proof=b64(signing.sign(signing.DOMAIN_REPORT, message, key)))


WRONG_PROOFS = {
    "another key": proof_by_another_key,
    "another code": proof_for_another_code,
    "another domain": proof_in_another_domain,
    "too short": lambda code: request_of(code, proof=b64(bytes(63))),
    "a key of 31 bytes": lambda code: request_of(code, public_key=b64(bytes(31))),
}


@pytest.mark.parametrize("wrong", WRONG_PROOFS)
def test_a_wrong_proof_is_refused_and_the_code_stays_good(hub, code, wrong):
    assert_refused(HubClient().post_json(ENROL, WRONG_PROOFS[wrong](code)), 400, "proof_invalid")
    assert hub.event(code="proof_invalid")["action"] == "POST enrol"
    assert_nothing_lost(code)


MALFORMED = {
    "a proof that is not base64": lambda code: request_of(code, proof="not base64!"),
    "a key that is not base64": lambda code: request_of(code, public_key="-"),
    "no proof": lambda code: {"code": code},
    "a list": lambda _: [],
    "half a surrogate pair": lambda code: '{"code": "\\ud800", "public_key": "", "proof": ""}',
    "a NUL": lambda code: request_of("\0" + code),
    "a long code": lambda code: request_of("x" * 201),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_request_is_refused_and_the_code_stays_good(hub, code, case):
    assert_refused(HubClient().post_json(ENROL, MALFORMED[case](code)), 400, "bad_request")
    assert hub.event(code="bad_request")["action"] == "POST enrol"
    assert_nothing_lost(code)


def test_what_is_not_json_is_refused(hub, code):
    assert_refused(HubClient().post_json(ENROL, "{"), 400, "bad_request")
    assert hub.event(code="bad_request")["action"] == "POST enrol"
    assert_nothing_lost(code)


def test_of_fifty_parallel_uses_of_a_code_exactly_one_succeeds(hub, code):
    start, answers = threading.Barrier(50), []

    def use():
        try:
            asked = request_of(code)
            start.wait()
            answer = HubClient().post_json(ENROL, asked)
            answers.append((answer.status_code, answer.json().get("code", "")))
        finally:
            connections.close_all()

    before = Agent.objects.count()
    threads = [threading.Thread(target=use) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=240)
    assert sorted(answers) == [(201, ""), *[(403, "code_used")] * 49]
    assert Agent.objects.count() == before + 1
    assert EnrolmentCode.objects.get(code_hash=secret_hash(code)).agent is not None
    assert hub.event(code="code_used")["facts"]["calls"] == 49
