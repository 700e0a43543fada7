"""Sealed updates that are cut, altered, replayed, late, or meant for something else."""

from datetime import timedelta

import pytest
import time_machine
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from django.utils import timezone
from hub_driver import assert_refused
from site_agent import now_ms, payload

from apps.federation.models import HubKey, Update
from apps.federation.pipeline import keys
from apps.federation.pipeline.receive import HEADER_TEXTS

PUBLIC = {"code": "update_refused", "detail": "The update was refused."}
# Offset of a byte in each part of the envelope (docs/wire-format.md), and what the audit calls its alteration.
AS_SENT = {
    "magic": (0, "envelope_magic"),
    "version": (4, "envelope_version"),
    "suite": (5, "envelope_suite"),
    "type": (6, "envelope_type"),
    "flags": (7, "envelope_flags"),
    "federation": (8, "envelope_signature"),
    "agent": (24, "envelope_signature"),
    "round": (40, "envelope_signature"),
    "base": (56, "envelope_signature"),
    "schema": (88, "envelope_signature"),
    "samples": (123, "envelope_signature"),
    "time": (143, "envelope_signature"),
    "nonce": (144, "envelope_signature"),
    "rsa key id": (160, "envelope_signature"),
    "round key id": (168, "envelope_signature"),
    "signing key id": (176, "envelope_signer"),
    "payload length": (191, "envelope_length"),
    "wrapped key": (200, "envelope_signature"),
    "ephemeral key": (580, "envelope_signature"),
    "salt": (610, "envelope_signature"),
    "commitment": (640, "envelope_signature"),
    "payload": (5000, "envelope_signature"),
    "signature": (-1, "envelope_signature"),
}
RESIGNED = {
    "wrapped key": (200, "envelope_unwrap"),
    "ephemeral key": (580, "envelope_commitment"),
    "salt": (610, "envelope_commitment"),
    "commitment": (640, "envelope_commitment"),
    "payload": (5000, "envelope_payload"),
    "attempt": (127, "envelope_commitment"),
    "nonce": (144, "envelope_commitment"),
}


@pytest.fixture
def round_(hub, north, south):
    return hub.open_round(north, south)


@pytest.fixture
def manifest(north, round_):
    return north.task()


def flipped(sealed, place):
    changed = bytearray(sealed)
    changed[place] ^= 0x40
    return bytes(changed)


def assert_refused_alike(hub, north, answers, code):
    """One public text whatever was wrong; the audit has the code; nothing is kept and no attempt is used up."""
    for answer in answers:
        assert (answer.status_code, answer.json()) == (422, PUBLIC)
    events = hub.events(code=code)
    assert len(events) >= len(answers)
    assert {(event["actor"], event["outcome"], event["visibility"]) for event in events} == {
        (north.row.actor, "denied", north.row.hospital.visibility)
    }
    assert hub.files() == set()
    assert not Update.objects.exists()


@pytest.mark.parametrize("length", [1, 191, 192, 727, 743, 744, 5000, -65, -64, -1])
def test_a_truncated_update_is_refused(hub, north, south, round_, manifest, length):
    cut = north.seal(manifest)[:length]
    code = "envelope_truncated" if len(cut) < 744 else "envelope_length"
    assert_refused_alike(hub, north, [north.put(round_.pk, cut), north.post(cut)], code)
    hub.finish_honestly(north, south)


def test_an_update_with_a_byte_too_many_is_refused(hub, north, south, round_, manifest):
    assert_refused_alike(hub, north, [north.put(round_.pk, north.seal(manifest) + b"\0")], "envelope_length")
    hub.finish_honestly(north, south)


def test_a_flipped_bit_anywhere_is_refused(hub, north, south, round_, manifest):
    sealed = north.seal(manifest)
    seen = set()
    for place, code in AS_SENT.values():
        assert_refused_alike(hub, north, [north.put(round_.pk, flipped(sealed, place))], code)
        seen.add(code)
    assert len(seen) == 8
    hub.finish_honestly(north, south)


@pytest.mark.parametrize("part", RESIGNED)
def test_a_bit_flipped_before_signing_is_refused_by_the_worker_with_the_same_text(
    hub, north, south, round_, manifest, part
):
    place, code = RESIGNED[part]
    assert north.put(round_.pk, north.resign(flipped(north.seal(manifest), place))).status_code == 202
    hub.work()
    status = north.status(round_.pk)
    assert {"code": status["code"], "detail": status["detail"]} == PUBLIC
    assert (status["state"], status["attempts_left"]) == ("REFUSED", 5)
    event = hub.event(code=code)
    assert (event["action"], event["outcome"], event["visibility"]) == (
        "update.refused",
        "refused",
        north.row.hospital.visibility,
    )
    assert hub.files() == set()
    hub.finish_honestly(north, south)


@pytest.mark.parametrize("suite", [0, 2, 3, 255])
def test_another_suite_is_refused_even_if_its_agent_signed_it(hub, north, south, round_, manifest, suite):
    sealed = north.seal(manifest)
    assert_refused_alike(
        hub, north, [north.put(round_.pk, north.resign(sealed[:5] + bytes([suite]) + sealed[6:]))], "envelope_suite"
    )
    hub.finish_honestly(north, south)


def test_an_update_signed_by_an_unknown_key_is_refused(hub, north, south, round_, manifest):
    sealed = north.seal(manifest, signing_key=Ed25519PrivateKey.generate())
    assert_refused_alike(hub, north, [north.put(round_.pk, sealed)], "envelope_signer")
    hub.finish_honestly(north, south)


WRONG_HEADERS = {
    "wrong_federation": {"federation_id": Update().pk},
    "clock_skew": {"now_ms": 0},
    "wrong_base": {"base_model": bytes(32)},
    "wrong_schema": {"schema": bytes(32)},
    "wrong_round_key": {"round_public": X25519PrivateKey.generate().public_key()},
    "num_samples_range": {"num_samples": 0},
}
WRONG_NUMBERS = [0, 1001, 2**32 - 1]


def assert_recorded_refusal(hub, north, round_, answer, code):
    """The agent is told what to do about it; the refusal is an update of its own in the audit and uses an attempt."""
    assert (answer.status_code, answer.json()) == (422, {"code": code, "detail": HEADER_TEXTS[code]})
    event = hub.event(code=code)
    assert (event["action"], event["actor"], event["outcome"], event["visibility"]) == (
        "update.refused",
        north.row.actor,
        "refused",
        north.row.hospital.visibility,
    )
    assert f"round:{round_.pk}" in event["objects"]
    status = north.status(round_.pk)
    assert (status["state"], status["code"], status["attempts_left"]) == ("REFUSED", code, 5)
    assert hub.files() == set()


@pytest.mark.parametrize("code", WRONG_HEADERS)
def test_a_header_that_does_not_fit_the_round_is_refused(hub, north, south, round_, manifest, code):
    answer = north.put(round_.pk, north.seal(manifest, **WRONG_HEADERS[code]))
    assert_recorded_refusal(hub, north, round_, answer, code)
    hub.finish_honestly(north, south)


@pytest.mark.parametrize("number", WRONG_NUMBERS)
def test_a_number_of_samples_that_was_not_enrolled_is_refused(hub, north, south, round_, manifest, number):
    answer = north.post(north.seal(manifest, num_samples=number))
    assert_recorded_refusal(hub, north, round_, answer, "num_samples_range")
    hub.finish_honestly(north, south)


def test_the_largest_enrolled_number_of_samples_and_the_largest_counters_are_taken(hub, north, south, round_, manifest):
    sealed = north.seal(manifest, num_samples=1000, seq=2**64 - 1, attempt=2**32 - 1)
    assert north.put(round_.pk, sealed).status_code == 202
    hub.work()
    assert north.status(round_.pk)["state"] == "ACCEPTED"
    hub.finish_honestly(south)


def test_an_update_to_another_rsa_key_than_the_rounds_is_refused(hub, north, south, round_, manifest, own_keys):
    keys.rotate(HubKey.Kind.RSA, actor="user:1")
    newer = load_pem_public_key(HubKey.objects.get(kind="RSA", state="ACTIVE").public_pem.encode())
    answer = north.put(round_.pk, north.seal(manifest, rsa_public=newer))
    assert_recorded_refusal(hub, north, round_, answer, "wrong_rsa_key")
    hub.finish_honestly(north, south)


@pytest.mark.parametrize(("minutes", "taken"), [(-16, False), (-14, True), (14, True), (16, False)])
def test_the_clocks_may_differ_by_fifteen_minutes(hub, north, south, round_, manifest, minutes, taken):
    answer = north.put(round_.pk, north.seal(manifest, now_ms=now_ms() + minutes * 60_000))
    if taken:
        assert answer.status_code == 202
        hub.work()
        hub.finish_honestly(south)
    else:
        assert_recorded_refusal(hub, north, round_, answer, "clock_skew")
        hub.finish_honestly(north, south)


def test_an_update_larger_than_the_rounds_model_can_be_is_refused(hub, north, south, round_, manifest):
    large = north.seal(manifest, bytes(manifest.max_bytes))
    assert_refused(north.put(round_.pk, large), 413, "body_too_large")
    assert_recorded_refusal(hub, north, round_, north.post(large), "update_too_large")
    hub.finish_honestly(north, south)


def test_an_update_sealed_for_another_round_is_refused(hub, north, south):
    first = hub.open_round(north, south, rounds=2)
    old = north.take_part()
    hub.work()
    south.take_part()
    hub.work()
    second = hub.current_round()
    assert second.pk != first.pk
    assert_refused(north.put(second.pk, old), 422, "wrong_round")
    assert hub.event(code="wrong_round")["actor"] == north.row.actor
    assert hub.files() == set()
    hub.finish_honestly(north, south)


def test_an_update_of_a_replaced_base_is_refused(hub, north, south):
    """What was trained from the version before, stated as what it is, for the round that came after."""
    hub.open_round(north, south, rounds=2)
    old = north.task()
    hub.finish_honestly(north, south)
    round_ = hub.current_round()
    answer = north.put(round_.pk, north.seal(north.task(), base_model=bytes.fromhex(old.model)))
    assert_recorded_refusal(hub, north, round_, answer, "wrong_base")
    hub.finish_honestly(north, south)


def test_the_same_bytes_again_get_the_same_answer_and_change_nothing(hub, north, south, round_, manifest):
    sealed = north.seal(manifest)
    first = north.put(round_.pk, sealed)
    assert (north.put(round_.pk, sealed).status_code, north.put(round_.pk, sealed).json()) == (202, first.json())
    assert north.post(sealed).status_code == 200
    hub.work()
    assert north.put(round_.pk, sealed).json()["state"] == "ACCEPTED"
    hub.finish_honestly(south)
    assert north.put(round_.pk, sealed).json()["state"] == "CONSUMED"
    assert north.post(sealed).status_code == 200
    assert Update.objects.filter(agent=north.row).count() == 1
    assert len(hub.events(action="update.received")) == 2
    assert hub.files() == set()


def test_a_refused_update_sent_again_is_refused_again_and_uses_no_attempt(hub, north, south, round_, manifest):
    sealed = north.seal(manifest, num_samples=0)
    assert_refused(north.post(sealed), 422, "num_samples_range")
    assert_refused(north.post(sealed), 422, "num_samples_range")
    answer = north.put(round_.pk, sealed)
    assert (answer.status_code, answer.json()["state"], answer.json()["code"]) == (202, "REFUSED", "num_samples_range")
    assert north.status(round_.pk)["attempts_left"] == 5
    assert len(hub.events(code="num_samples_range")) == 1
    hub.finish_honestly(north, south)


def test_an_altered_update_sent_again_is_refused_again_with_the_same_text(hub, north, south, round_, manifest):
    sealed = north.resign(flipped(north.seal(manifest), 5000))
    assert north.post(sealed).status_code == 200
    hub.work()
    answer = north.post(sealed)
    assert (answer.status_code, answer.json()) == (422, PUBLIC)
    hub.finish_honestly(north, south)


def test_a_nonce_with_other_bytes_is_a_replay(hub, north, south, round_, manifest):
    first = north.seal(manifest, num_samples=0)
    assert_refused(north.post(first), 422, "num_samples_range")
    other = north.seal(manifest, payload())
    replayed = north.resign(other[:144] + first[144:160] + other[160:])
    for answer in (north.put(round_.pk, replayed), north.post(replayed)):
        assert_refused(answer, 409, "replayed")
    assert {event["actor"] for event in hub.events(code="replayed")} == {north.row.actor}
    assert north.status(round_.pk)["attempts_left"] == 5
    assert hub.files() == set()
    hub.finish_honestly(north, south)


def test_the_same_nonce_of_another_agent_is_no_replay(hub, north, south, round_, manifest):
    sealed = north.take_part()
    hub.work()
    other = south.seal(manifest, now_ms=now_ms())
    # Whether it opens is the worker's business; here is only that nonces are kept apart by agent.
    assert south.put(round_.pk, south.resign(other[:144] + sealed[144:160] + other[160:])).status_code == 202


def test_an_update_to_a_round_that_has_closed_is_refused(hub, north, south, enrolled, cast):
    late = enrolled(cast.north)
    round_ = hub.open_round(north, south)
    sealed = late.seal(late.task())
    hub.finish_honestly(north, south)
    for answer in (late.put(round_.pk, sealed), late.post(sealed)):
        assert_refused(answer, 409, "round_closed")
    assert {event["actor"] for event in hub.events(code="round_closed")} == {late.row.actor}
    assert late.status(round_.pk)["round_state"] == "PUBLISHED"
    assert hub.files() == set()


def test_after_five_refused_updates_and_one_more_an_agent_has_no_attempt_left(hub, north, south, enrolled, cast):
    other = enrolled(cast.north)
    round_ = hub.open_round(north, south, other)
    manifest = north.task()
    for left in (5, 4, 3, 2, 1, 0):
        assert_refused(north.put(round_.pk, north.seal(manifest, num_samples=0)), 422, "num_samples_range")
        assert north.status(round_.pk)["attempts_left"] == left
    for answer in (north.put(round_.pk, north.seal(manifest)), north.post(north.seal(manifest))):
        assert_refused(answer, 429, "too_many_attempts")
    assert {event["actor"] for event in hub.events(code="too_many_attempts")} == {north.row.actor}
    assert north.task() is None
    assert hub.files() == set()
    for agent in (south, other):
        agent.take_part()
    hub.work()
    with time_machine.travel(timezone.now() + timedelta(seconds=hub.federation.grace + 1)):
        hub.tick()
    round_.refresh_from_db()
    assert round_.state == "PUBLISHED"
