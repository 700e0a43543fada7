"""The gate: agents evaluate a candidate before it is published, and a run's last version after it."""

from datetime import timedelta

import pytest
import time_machine
from django.utils import timezone
from hub_driver import assert_refused
from site_agent import SLUG, b64, now_ms, report

from apps.federation import queries
from apps.federation.models import Evaluation, HubKey, ModelVersion
from apps.federation.pipeline import keys, runs
from hospintel_core import signing
from hospintel_core.plan import Manifest, SignedManifest


@pytest.fixture
def gated(hub, north, south):
    """A round whose candidate waits for two reports; on the base both agents were right in 8 of 10."""
    hub.configure(evaluate_quorum=2)
    round_ = hub.open_round(north, south, rounds=2)
    for agent in (north, south):
        agent.take_part()
    hub.work()
    round_.refresh_from_db()
    assert round_.state == "EVALUATING"
    return round_


@pytest.fixture
def ended(hub, north, south):
    """A run whose only round is published: its version is being evaluated."""
    hub.open_round(north, south)
    return hub.finish_honestly(north, south)


def evaluate(hub, *pairs):
    for agent, measured in pairs:
        assert agent.evaluate(measured).json() == {"state": "recorded"}
        hub.work()


def verdict_of(round_):
    round_.refresh_from_db()
    return round_.state, round_.version.verdict


def test_a_candidate_is_published_when_the_agents_find_it_good(hub, north, south, gated):
    candidate = gated.version
    manifest = north.task()
    assert (manifest.kind, manifest.model, manifest.version) == ("evaluate", candidate.digest, None)
    assert (manifest.rsa_public_key, manifest.round_public_key) == ("", "")
    evaluate(hub, (north, report(9)))
    assert verdict_of(gated)[0] == "EVALUATING"
    assert north.task() is None
    evaluate(hub, (south, report(8)))
    assert verdict_of(gated) == ("PUBLISHED", "accuracy 0.8500 on 20 scans of 2 agents, base 0.8000")
    hub.federation.refresh_from_db()
    assert hub.federation.current == candidate
    assert hub.files() == set()
    assert hub.current_round().number == 2


def test_a_candidate_that_is_worse_by_more_than_the_margin_is_held_and_the_run_pauses(hub, north, south, gated):
    before = hub.federation.current_id
    evaluate(hub, (north, report(8)), (south, report(7)))
    assert verdict_of(gated) == ("HELD", "accuracy 0.7500 on 20 scans of 2 agents, base 0.8000")
    hub.federation.refresh_from_db()
    assert hub.federation.current_id == before
    assert (gated.version.state, gated.version.number) == ("HELD", None)
    gated.run.refresh_from_db()
    assert gated.run.state == "PAUSED"
    assert hub.event(action="round.held")["facts"]["reason"] == "gate"
    assert hub.event(action="run.paused")["facts"]["reason"] == "held"
    assert hub.files() == set()
    assert not keys.has_round_key(gated.pk)
    assert north.task() is None
    hub.run(runs.resume(gated.run, actor="user:1"))
    again = hub.current_round()
    assert (again.number, again.attempt, again.base_id) == (1, 2, before)


def test_a_candidate_that_is_worse_within_the_margin_is_published(hub, north, south, gated):
    hub.configure(gate_margin=0.05)
    evaluate(hub, (north, report(75, 100)), (south, report(75, 100)))
    assert verdict_of(gated)[0] == "PUBLISHED"


def test_scans_weigh_not_agents(hub, north, south, gated):
    """One agent with 90 scans says worse, one with 10 says better: 0.68 against the base's 0.80."""
    evaluate(hub, (north, report(58, 90)), (south, report(10, 10)))
    assert verdict_of(gated) == ("HELD", "accuracy 0.6800 on 100 scans of 2 agents, base 0.8000")


def test_only_what_the_reporters_measured_on_the_base_is_compared(hub, north, south):
    hub.configure(evaluate_quorum=1, min_updates=2)
    round_ = hub.open_round(north, south)
    north.take_part(measured=report(5))
    south.take_part(measured=report(10))
    hub.work()
    evaluate(hub, (north, report(5)))
    assert verdict_of(round_) == ("PUBLISHED", "accuracy 0.5000 on 10 scans of 1 agent, base 0.5000")


@pytest.mark.parametrize(
    ("reports", "verdict"), [(1, "accuracy 0.9000 on 10 scans of 1 agent, base 0.8000"), (0, "not evaluated")]
)
def test_the_gate_decides_at_its_deadline_with_what_it_has(hub, north, gated, reports, verdict):
    evaluate(hub, *[(north, report(9))] * reports)
    with time_machine.travel(timezone.now() + timedelta(seconds=hub.federation.evaluate_deadline - 5)):
        hub.tick()
        assert verdict_of(gated)[0] == "EVALUATING"
    with time_machine.travel(timezone.now() + timedelta(seconds=hub.federation.evaluate_deadline + 5)):
        hub.tick()
        assert verdict_of(gated) == ("PUBLISHED", verdict)


def test_reports_without_a_scan_decide_nothing(hub, north, south, gated):
    evaluate(hub, (north, report(0, 0)), (south, report(0, 0)))
    assert verdict_of(gated) == ("PUBLISHED", "not evaluated")


def test_without_a_quorum_for_evaluation_the_verdict_says_so(hub, ended):
    assert verdict_of(ended) == ("PUBLISHED", "not evaluated")


def test_the_last_version_of_a_run_is_evaluated_and_its_accuracy_is_the_reports(hub, north, south, ended):
    manifest = north.task()
    assert (manifest.kind, manifest.version, manifest.model) == ("evaluate", 2, ended.version.digest)
    evaluate(hub, (north, report(9)))
    ended.run.refresh_from_db()
    assert ended.run.state == "RUNNING"
    evaluate(hub, (south, report(6)))
    ended.run.refresh_from_db()
    assert ended.run.state == "DONE"
    newest, first = queries.version_rows(hub.federation, None)
    assert (newest.version.number, newest.updates, newest.measured.accuracy, newest.measured.n) == (2, 2, 0.75, 20)
    assert (first.version.number, first.updates, first.measured.accuracy) == (1, 0, 0.8)


def test_the_last_evaluation_ends_at_its_deadline_without_the_agents(hub, ended):
    with time_machine.travel(timezone.now() + timedelta(seconds=hub.federation.evaluate_deadline + 1)):
        hub.tick()
    ended.run.refresh_from_db()
    assert ended.run.state == "DONE"


def test_a_run_that_was_paused_during_its_last_evaluation_ends_when_it_is_resumed(hub, north, south, ended):
    runs.pause(ended.run, actor="user:1")
    evaluate(hub, (north, report()), (south, report()))
    ended.run.refresh_from_db()
    assert ended.run.state == "PAUSED"
    hub.run(runs.resume(ended.run, actor="user:1"))
    ended.run.refresh_from_db()
    assert ended.run.state == "DONE"


def test_a_published_version_that_the_agents_find_worse_raises_the_alarm(hub, north, south):
    hub.open_round(north, south, rounds=2)
    hub.finish_honestly(north, south)
    for agent in (north, south):
        agent.take_part(measured=report(5))
    hub.work()
    worse = ModelVersion.objects.get(number=2)
    assert worse.alarm == "accuracy 0.5000, its parent had 0.8000 with the same 2 agents"
    alarm = hub.event(action="version.alarm")
    assert (alarm["object"], alarm["facts"], alarm["visibility"]) == (f"version:{worse.pk}", {}, "everyone")
    figures = hub.event(action="version.alarm_figures")
    assert figures["visibility"] == "admin"
    assert "accuracy" in figures["facts"]["found"]


def test_a_version_that_is_not_worse_raises_no_alarm(hub, north, south):
    hub.open_round(north, south, rounds=2)
    hub.finish_honestly(north, south)
    hub.finish_honestly(north, south)
    assert not ModelVersion.objects.exclude(alarm="").exists()


def other_model(agent, manifest):
    return agent.report_body(manifest, report(), model="0" * 64)


HOSTILE_BODIES = {
    "another model": (other_model, "report_json"),
    "another round": (lambda a, m: a.report_body(m, report(), round=str(m.run_id)), "report_json"),
    "another federation": (lambda a, m: a.report_body(m, report(), federation=SLUG), "report_json"),
    "another agent": (lambda a, m: a.report_body(m, report(), agent=str(m.run_id)), "report_json"),
    "an old report": (lambda a, m: a.report_body(m, report(), issued_ms=now_ms() - 16 * 60_000), "report_json"),
    "a report from the future": (
        lambda a, m: a.report_body(m, report(), issued_ms=now_ms() + 16 * 60_000),
        "report_json",
    ),
    "a time in words": (lambda a, m: a.report_body(m, report(), issued_ms="now"), "report_json"),
    "a time without end": (lambda a, m: a.report_body(m, report(), issued_ms=10**400), "report_json"),
    "one more field": (lambda a, m: a.report_body(m, report(), patient="Jane Doe"), "report_json"),
    "no JSON": (lambda a, m: b"accuracy: great", "report_json"),
    "a list": (lambda a, m: b"[]", "report_json"),
    "a number": (lambda a, m: b"1", "report_json"),
    "the same key twice": (lambda a, m: b'{"agent":"","agent":""}', "report_json"),
    "deep JSON": (lambda a, m: b"[" * 19_000, "report_json"),
    "no report": (lambda a, m: a.report_body(m, report(), report=None), "report_shape"),
    "more scans than enrolled": (lambda a, m: a.report_body(m, report(1001, 1001)), "report_range"),
}


def assert_report_refused(hub, agent, answer, code):
    assert (answer.status_code, answer.json()) == (422, {"code": "report_refused", "detail": "The report was refused."})
    event = hub.event(code=code)
    assert (event["actor"], event["visibility"]) == (agent.row.actor, agent.row.hospital.visibility)
    assert not Evaluation.objects.filter(kind="EVALUATE").exists()


@pytest.mark.parametrize("case", HOSTILE_BODIES)
def test_a_report_that_is_not_what_was_asked_for_is_refused(hub, north, south, gated, case):
    make, code = HOSTILE_BODIES[case]
    answer = north.send_report(gated.pk, make(north, north.task()))
    assert_report_refused(hub, north, answer, code)
    evaluate(hub, (north, report()), (south, report()))
    assert verdict_of(gated)[0] == "PUBLISHED"


def wrong_signatures(agent, other, body):
    return {
        "another agent's": signing.sign(signing.DOMAIN_REPORT, body, other.key),
        "one in another domain": signing.sign(signing.DOMAIN_UPDATE, body, agent.key),
        "one over other bytes": signing.sign(signing.DOMAIN_REPORT, body + b" ", agent.key),
        "a short one": bytes(63),
        "none": b"",
    }


def test_a_report_with_a_wrong_signature_is_refused(hub, north, south, gated):
    body = north.report_body(north.task(), report())
    for number, signature in enumerate(wrong_signatures(north, south, body).values(), start=1):
        answer = north.send_report(gated.pk, body, signature)
        if not signature:
            assert_refused(answer, 400, "bad_request")
            continue
        assert answer.json() == {"code": "report_refused", "detail": "The report was refused."}
        assert len(hub.events(code="signature_invalid")) == number
    assert not Evaluation.objects.filter(kind="EVALUATE").exists()
    evaluate(hub, (north, report()), (south, report()))
    assert verdict_of(gated)[0] == "PUBLISHED"


def test_a_signature_that_is_not_base64_is_refused(hub, north, gated):
    asked = {"body": "{}", "signature": b64(b"x")[:-1]}
    answer = north.client.post_json(f"/api/v1/rounds/{gated.pk}/report", asked, headers=north.headers)
    assert_refused(answer, 400, "bad_request")


def test_the_report_of_one_agent_with_the_token_of_another_is_refused(hub, north, south, gated):
    body = south.report_body(south.task(), report())
    answer = south.with_token(north.token).send_report(gated.pk, body)
    assert_report_refused(hub, north, answer, "signature_invalid")
    evaluate(hub, (north, report()), (south, report()))


def test_a_second_report_is_refused_and_the_first_one_counts(hub, north, south, gated):
    manifest = north.task()
    evaluate(hub, (north, report(9)))
    answer = north.send_report(gated.pk, north.report_body(manifest, report(1)))
    assert_refused(answer, 409, "report_exists")
    assert hub.event(code="report_exists")["actor"] == north.row.actor
    evaluate(hub, (south, report(9)))
    assert verdict_of(gated)[1].startswith("accuracy 0.9000")


def test_what_a_report_counts_is_its_hospitals_own(hub, north, gated):
    evaluate(hub, (north, report(9)))
    told, counted = hub.event(action="evaluation.report"), hub.event(action="evaluation.counted")
    assert (told["visibility"], told["facts"]) == ("everyone", {})
    assert (counted["visibility"], counted["facts"]) == (north.row.hospital.visibility, {"scans": 10, "correct": 9})


def test_a_report_after_the_evaluation_has_closed_is_refused(hub, north, south, enrolled, cast, gated):
    late = enrolled(cast.north)
    manifest = late.task()
    evaluate(hub, (north, report()), (south, report()))
    assert_refused(late.send_report(gated.pk, late.report_body(manifest, report())), 409, "round_closed")
    assert hub.event(code="round_closed")["actor"] == late.row.actor


def test_a_report_on_a_round_that_asked_for_none_is_refused(hub, north, south):
    round_ = hub.open_round(north, south)
    answer = north.send_report(round_.pk, north.report_body(north.task(), report()))
    assert_refused(answer, 409, "round_closed")
    hub.finish_honestly(north, south)


def test_an_evaluation_that_opens_after_the_identity_was_rotated_names_the_key_that_signed_it(
    hub, north, south, own_keys
):
    hub.configure(evaluate_quorum=1)
    hub.open_round(north, south)
    for agent in (north, south):
        agent.take_part()
    keys.rotate(HubKey.Kind.IDENTITY, actor="user:1")
    hub.work()
    signed = SignedManifest.from_wire(north.poll().json())
    assert Manifest.from_bytes(signed.body).kind == "evaluate"
    new = keys.identity_public()
    assert signed.kid == signing.key_id(new)
    signing.verify(signing.DOMAIN_MANIFEST, signed.body, signed.signature, new)
