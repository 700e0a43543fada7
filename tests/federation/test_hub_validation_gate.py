"""The gate with a validation set: candidates are measured on the hub, and proposals too."""

import numpy as np
import on_disk
import pytest
from hub_client import HubClient
from proposing import SCHEMA, changed_head, proposed
from site_agent import report
from test_hub_proposals import decide
from validating import LEAST, ready_set

from apps.audit.api import advance, transaction
from apps.federation import queries, reviews
from apps.federation.models import ModelVersion, Round, ValidationReport, ValidationSet
from apps.federation.pipeline import evaluate, storage, validation
from apps.federation.pipeline.aggregate import WORKER
from apps.federation.pipeline.propose import propose
from apps.federation.pipeline.publish import publish
from apps.federation.pipeline.rollback import rollback
from apps.federation.pipeline.validate import labelled, reports_of
from hospintel_core import architectures, training, weights
from hospintel_core.plan import Plan

PIXELS = architectures.get("pixels-head16")


@pytest.fixture
def found(hub, cast):
    """A set of ten scans a class in use, and a current version that knows them."""
    made = ready_set(hub, cast.admin)
    publish_head(hub, trained(made, hub))
    return made


def trained(found, hub):
    """A head that learnt the set by heart."""
    scans, head = labelled(found), storage.read_head(hub.federation.current.digest, SCHEMA)
    plan = Plan.from_dict({"epochs": 20, "batch_size": 8, "learning_rate": 0.01})
    return training.train_head(PIXELS, head, scans.features, scans.labels, plan, seed=1)[0]


def publish_head(hub, head):
    """Publish a head as if a round had made it."""
    version = ModelVersion.objects.create(
        federation=hub.federation,
        digest=storage.store_head(weights.dumps(head)),
        source="ROUND",
        parent=hub.federation.current,
    )
    hub.run(publish(version, actor=WORKER))
    hub.federation.refresh_from_db()
    return version


def blind_to(head, label, by=500.0):
    """A head that names no scan so."""
    output = {name: array.copy() for name, array in head.items()}
    output["head_output/bias"][label] -= np.float32(by)
    return output


def current_head(hub):
    return storage.read_head(hub.federation.current.digest, SCHEMA)


def candidate(hub, north, south, head):
    """A round whose aggregation came to this head: it waits at the gate."""
    round_ = hub.open_round(north, south)
    version = ModelVersion.objects.create(
        federation=hub.federation,
        digest=storage.store_head(weights.dumps(head)),
        source="ROUND",
        parent=hub.federation.current,
        round=round_,
    )
    # As the aggregation leaves it; the test is about what comes next.
    Round.objects.filter(pk=round_.pk).update(closed_at=round_.opened_at, aggregated_at=round_.opened_at)
    advance_to_the_gate(round_)
    return round_, version


def advance_to_the_gate(round_):
    with transaction():
        for state in ("AGGREGATING", "EVALUATING"):
            advance(round_, state, actor=WORKER)


def gated(hub, round_):
    hub.run(evaluate.gate(round_.pk))
    round_.refresh_from_db()
    return round_.state, round_.version.verdict


def test_a_real_round_is_measured_on_the_set_and_its_figures_are_kept(hub, cast, north, south):
    made = ready_set(hub, cast.admin)
    hub.open_round(north, south)
    for agent in (north, south):
        agent.take_part()
    hub.work()
    version = ModelVersion.objects.get(source="ROUND")
    row = ValidationReport.objects.get(version=version)
    before = ValidationReport.objects.get(version=version.parent)
    assert row.n == before.n == 4 * LEAST
    assert version.verdict.startswith(f"validation set: {row.correct} of {row.n} scans right, base {before.correct}")
    scans = labelled(made)
    head = storage.read_head(version.digest, SCHEMA)
    assert row.report == training.evaluate_head(PIXELS, head, scans.features, scans.labels)
    entry = hub.events(action="version.validated")[-1]
    assert (entry["object"], entry["objects"]) == (f"version:{version.pk}", [f"validation_set:{made.pk}"])
    assert entry["facts"] == {"right": row.correct, "scans": row.n}


@pytest.mark.parametrize(("label", "name"), [(0, "glioma"), (2, "no tumor")])
def test_a_candidate_that_loses_a_class_is_held_and_the_class_is_named(hub, north, south, found, label, name):
    base = reports_of(hub.federation.current)[1]
    assert base.confusion[label][label] >= 2
    round_, version = candidate(hub, north, south, blind_to(current_head(hub), label))
    state, verdict = gated(hub, round_)
    assert state == "HELD"
    assert f"worse at {name}: 0 of {LEAST}, base {base.confusion[label][label]}" in verdict
    assert f"scans right, base {base.correct}" in verdict
    round_.run.refresh_from_db()
    assert round_.run.state == "PAUSED"
    version.refresh_from_db()
    assert (version.state, hub.federation.current.number) == ("HELD", 2)


def test_a_class_that_got_worse_holds_a_candidate_whose_total_is_within_the_margin(hub, north, south, found):
    hub.configure(gate_margin=0.3)
    base = reports_of(hub.federation.current)[1]
    round_, version = candidate(hub, north, south, blind_to(current_head(hub), 3))
    state, verdict = gated(hub, round_)
    now = reports_of(version)[1]
    assert base.correct - now.correct <= 0.3 * base.n
    assert (state, verdict.count("worse at")) == ("HELD", 1)
    assert "worse at pituitary" in verdict


def test_a_candidate_that_is_as_good_is_published(hub, north, south, found):
    right = reports_of(hub.federation.current)[1].correct
    round_, version = candidate(hub, north, south, nudged(hub))
    assert gated(hub, round_) == (
        "PUBLISHED",
        f"validation set: {right} of {4 * LEAST} scans right, base {right}",
    )
    version.refresh_from_db()
    assert version.number == 3


def nudged(hub):
    """The current head, changed so little that it says the same."""
    return {name: array * np.float32(1.0001) for name, array in current_head(hub).items()}


def test_the_agents_are_not_asked_where_there_is_a_set_and_are_where_it_was_deleted(hub, cast, north, south, found):
    hub.configure(evaluate_quorum=1)
    round_, _ = candidate(hub, north, south, nudged(hub))
    assert gated(hub, round_)[0] == "PUBLISHED"
    validation.delete(found, actor=cast.admin.actor)
    hub.federation.refresh_from_db()
    # Its one round is published: the run's last version is being evaluated by the agents.
    for agent in (north, south):
        agent.evaluate(report())
        hub.work()
    again, _ = candidate(hub, north, south, nudged(hub))
    state, verdict = gated(hub, again)
    assert (state, verdict) == ("EVALUATING", "")
    assert north.task().kind == "evaluate"


def test_a_set_that_comes_while_the_agents_evaluate_decides_and_ends_that(hub, cast, north, south):
    hub.configure(evaluate_quorum=2)
    round_, _ = candidate(hub, north, south, nudged(hub))
    assert gated(hub, round_)[0] == "EVALUATING"
    ready_set(hub, cast.admin)
    state, verdict = gated(hub, round_)
    assert (state, verdict[:15]) == ("PUBLISHED", "validation set:")
    assert round_.evaluation_closed_at is not None


def test_what_the_hub_measured_stays_when_the_agents_report_on_a_runs_last_version(hub, cast, north, south, found):
    round_, version = candidate(hub, north, south, nudged(hub))
    verdict = gated(hub, round_)[1]
    for agent in (north, south):
        agent.evaluate(report())
        hub.work()
    version.refresh_from_db()
    assert version.verdict == verdict
    # Two hospitals reported, and a doctor of one of them is told what the hub found all the same.
    assert queries.told_verdict(version, {cast.north.pk}) == verdict
    agents_say = ModelVersion.objects.get(pk=version.pk)
    agents_say.verdict = "accuracy 0.5"
    assert queries.told_verdict(agents_say, {cast.north.pk}) == queries.WITHHELD


def test_a_set_that_cannot_be_read_lets_nothing_pass_and_is_ended(hub, north, south, found):
    round_, _ = candidate(hub, north, south, nudged(hub))
    features = validation.features_id(found.digest, found.backbone)
    on_disk.scan_path(validation.SCANS, found.pk, features).write_bytes(b"x" * 40)
    assert gated(hub, round_) == ("HELD", "validation set: it cannot be read any more (scan_damaged)")
    found.refresh_from_db()
    assert (found.state, found.code) == ("FAILED", "scan_damaged")
    assert hub.event(action="validation_set.failed")["visibility"] == "everyone"


def test_a_candidate_that_computes_no_number_is_held(hub, north, south, found):
    head = current_head(hub)
    # Infinite, and less an infinite again.
    head["head_dense/kernel"][:] = 0
    head["head_dense/bias"][:] = 3e38
    head["head_output/kernel"][:] = 3e38
    head["head_output/kernel"][::2] *= -1
    with np.errstate(over="ignore", invalid="ignore"):
        round_, _ = candidate(hub, north, south, head)
        state, verdict = gated(hub, round_)
    assert (state, verdict) == ("HELD", "validation set: the version cannot be measured (training_not_finite)")


def test_a_proposal_is_measured_before_and_after_and_shown_in_the_review(hub, cast, found):
    version = proposed(hub, cast.north_doctor, digest=storage.store_head(weights.dumps(blind_to(current_head(hub), 1))))
    hub.run([evaluate.Next("validate", version.pk)])
    version = ModelVersion.objects.get(pk=version.pk)
    (part,) = reviews.parts(version, cast.admin)
    assert part.name == "the hub's validation set"
    lines = {line.name: line for line in part.lines}
    assert lines["All"].before.scans == lines["All"].after.scans == 4 * LEAST
    assert (lines["Meningioma"].after.right, lines["Meningioma"].before.scans) == (0, LEAST)
    assert lines["Meningioma"].before.right > 0
    client = HubClient()
    client.force_login(cast.admin)
    page = client.get("/models/", headers={"Accept": "text/html"}).text
    assert "Measured on the hub&#x27;s validation set" in page
    one = client.get(f"/models/{version.pk}/", headers={"Accept": "text/html"}).text
    assert "on the hub's validation set" in one
    assert one.count('id="classes-note-hub"') == 1
    # It is an administrator who decides about a proposal, whatever was measured.
    assert decide(cast.admin, version, "publish").status_code == 200


def test_a_proposal_by_call_is_measured_without_being_asked_for(hub, cast, found):
    version, following = propose(
        hub.federation,
        digest=changed_head(hub),
        source="UPLOAD",
        parent=hub.federation.current,
        author=cast.north_doctor,
    )
    hub.run(following)
    assert ValidationReport.objects.filter(version=version).count() == 1


def test_what_waits_for_review_is_measured_when_a_set_comes(hub, cast):
    waiting = proposed(hub, cast.north_doctor)
    made = ready_set(hub, cast.admin)
    assert ValidationReport.objects.filter(validation_set=made, version=waiting).count() == 1


def test_a_head_is_measured_once_a_set_however_often_it_comes_back(hub, cast, found):
    first = ModelVersion.objects.get(number=1)
    again, following = rollback(first, actor=cast.admin.actor)
    hub.run(following)
    rows = ValidationReport.objects.filter(version__digest=first.digest)
    assert (rows.count(), rows.get().version) == (1, first)
    assert reports_of(again)[1] == rows.get().report
    # On another set it is measured anew.
    other = ready_set(hub, cast.admin, seed=8)
    assert ValidationReport.objects.filter(validation_set=other, version__digest=first.digest).count() == 1
    assert ValidationSet.objects.count() == 2


def test_reports_of_a_replaced_set_are_still_shown(hub, cast, found):
    version = hub.federation.current
    kept = reports_of(version)
    validation.delete(found, actor=cast.admin.actor)
    assert reports_of(version) == kept
    assert kept[0] is not None
