"""The life of a round: when it opens, whom it expects, when it closes, and when it fails."""

from datetime import timedelta

import numpy as np
import pytest
from django.utils import timezone
from hub_client import body
from hub_driver import assert_refused
from site_agent import ARCHITECTURE, SCHEMA, delta

from apps.federation.models import Agent, Round, Update
from apps.federation.pipeline import storage
from apps.federation.pipeline.aggregate import close
from apps.federation.pipeline.revoke import revoke
from hospintel_core import architectures, weights


@pytest.fixture
def third(enrolled, cast):
    """A second agent of South Clinic."""
    return enrolled(cast.south)


def ids(*agents):
    return sorted(str(agent.row.pk) for agent in agents)


def test_a_round_opens_when_as_many_agents_are_online_as_it_needs(hub, north, south):
    run = hub.start_run()
    assert not Round.objects.exists()
    assert north.poll().status_code == 204
    hub.work()
    assert not Round.objects.exists()
    assert south.poll().status_code == 204
    hub.work()
    round_ = hub.current_round(run)
    assert (round_.number, round_.attempt, round_.state) == (1, 1, "COLLECTING")
    assert sorted(round_.expected) == ids(north, south)
    assert hub.event(action="round.open")["facts"] == {
        "federation": hub.federation.slug,
        "number": 1,
        "attempt": 1,
        "version": 1,
        "expected": 2,
        "required": 2,
        "selection": "all",
        "wanted": None,
    }


def test_agents_that_were_not_seen_lately_are_not_expected(hub, clock, north, south, third):
    third.poll()
    clock.shift(hub.federation.seen_within + 1)
    round_ = hub.open_round(north, south)
    assert sorted(round_.expected) == ids(north, south)


def test_a_revoked_agent_does_not_count_as_online(hub, north, south):
    for agent in (north, south):
        agent.poll()
    revoke(south.row, actor="user:1")
    hub.start_run()
    assert not Round.objects.exists()


def test_an_outsiders_agent_does_not_count_as_online(hub, north, stranger):
    hub.start_run()
    north.poll()
    stranger.poll()
    hub.work()
    assert not Round.objects.exists()


def test_an_idle_hub_fails_nothing(hub, clock, north, south):
    round_ = hub.open_round(north, south)
    clock.shift(30 * 86_400)
    hub.tick()
    round_.refresh_from_db()
    assert round_.state == "COLLECTING"
    hub.finish_honestly(north, south)


def test_a_round_closes_at_once_when_all_expected_agents_are_in(hub, clock, north, south, third):
    round_ = hub.open_round(north, south, third)
    for agent in (north, south):
        agent.take_part()
    hub.work()
    round_.refresh_from_db()
    assert round_.state == "COLLECTING"
    third.take_part()
    hub.work()
    round_.refresh_from_db()
    assert round_.state == "PUBLISHED"
    assert hub.event(action="round.aggregating")["facts"].items() >= {"accepted": 3, "missing": 0}.items()


def test_the_new_version_is_the_base_and_the_weighted_mean_of_the_deltas(hub, north, south):
    hub.open_round(north, south)
    north.take_part(seed=1, num_samples=300)
    south.take_part(seed=2, num_samples=100)
    hub.work()
    hub.federation.refresh_from_db()
    version = hub.federation.current
    assert (version.number, version.parent.number, version.source) == (2, 1, "ROUND")
    head = storage.read_head(version.digest, SCHEMA)
    base = architectures.initial_head(ARCHITECTURE, 0)
    for name, array in head.items():
        one, two = (delta(seed)[name].astype(np.float64) for seed in (1, 2))
        mean = (300 * one + 100 * two) / 400
        assert np.array_equal(array, (base[name] + mean).astype(np.float32))


def test_a_straggler_is_not_waited_for_longer_than_the_grace(hub, clock, north, south, third):
    round_ = hub.open_round(north, south, third)
    late = third.seal(third.task())
    for agent in (north, south):
        agent.take_part()
    hub.work()
    clock.shift(hub.federation.grace - 1)
    hub.tick()
    round_.refresh_from_db()
    assert round_.state == "COLLECTING"
    clock.shift(1)
    hub.tick()
    round_.refresh_from_db()
    assert round_.state == "PUBLISHED"
    assert hub.event(action="round.aggregating")["facts"]["missing"] == 1
    assert_refused(third.put(round_.pk, late), 409, "round_closed")
    assert third.status(round_.pk)["round_state"] == "PUBLISHED"
    assert hub.files() == set()


def test_an_agent_that_comes_late_joins_while_the_round_collects(hub, clock, north, south, third):
    round_ = hub.open_round(north, south)
    north.take_part()
    hub.work()
    third.take_part()
    hub.work()
    round_.refresh_from_db()
    assert (round_.state, round_.quorum_at) == ("COLLECTING", timezone.now())
    south.take_part()
    hub.work()
    assert round_.updates.filter(state="CONSUMED").count() == 3


def test_two_agents_of_one_hospital_have_an_update_each(hub, north, south, third):
    round_ = hub.open_round(south, third)
    hub.finish_honestly(south, third)
    assert Update.objects.filter(round=round_).count() == 2


def test_the_deadline_closes_a_round_that_has_its_quorum(hub, clock, north, south, third):
    hub.configure(grace=10_000, deadline=600)
    round_ = hub.open_round(north, south, third)
    north.take_part()
    hub.work()
    clock.shift(500)
    south.take_part()
    hub.work()
    clock.shift(99)
    hub.tick()
    round_.refresh_from_db()
    assert round_.state == "COLLECTING"
    clock.shift(1)
    hub.tick()
    round_.refresh_from_db()
    assert round_.state == "PUBLISHED"


def test_the_deadline_fails_a_round_without_a_quorum_and_the_next_attempt_opens(hub, clock, north, south):
    round_ = hub.open_round(north, south)
    north.take_part()
    hub.work()
    clock.shift(hub.federation.deadline - 1)
    hub.tick()
    round_.refresh_from_db()
    assert round_.state == "COLLECTING"
    clock.shift(1)
    hub.tick()
    round_.refresh_from_db()
    assert (round_.state, round_.reason) == ("FAILED", "quorum")
    assert hub.event(action="round.failed")["facts"]["reason"] == "quorum"
    assert hub.files() == set()
    for agent in (north, south):
        agent.poll()
    hub.work()
    again = hub.current_round()
    assert (again.number, again.attempt, again.base_id) == (1, 2, round_.base_id)
    hub.finish_honestly(north, south)


def test_an_update_that_arrived_before_the_deadline_is_inspected_before_the_round_fails(hub, clock, north, south):
    round_ = hub.open_round(north, south)
    north.take_part()
    hub.work()
    south.take_part()
    clock.shift(hub.federation.deadline + 1)
    assert close(round_.pk) == []
    hub.tick()
    round_.refresh_from_db()
    assert round_.state == "PUBLISHED"


def test_refused_updates_make_no_quorum(hub, clock, north, south):
    round_ = hub.open_round(north, south)
    north.take_part()
    assert south.put(round_.pk, south.seal(south.task(), b"nothing")).status_code == 202
    hub.work()
    round_.refresh_from_db()
    assert (round_.state, round_.quorum_at) == ("COLLECTING", None)
    hub.finish_honestly(south)


def test_a_revoked_agent_is_not_waited_for(hub, north, south, third):
    round_ = hub.open_round(north, south, third)
    for agent in (north, south):
        agent.take_part()
    revoke(third.row, actor="user:1")
    hub.work()
    round_.refresh_from_db()
    assert round_.state == "PUBLISHED"


def test_a_task_is_only_offered_while_the_agent_has_nothing_in_the_round(hub, north, south):
    assert north.task() is None
    round_ = hub.open_round(north, south)
    manifest = north.task()
    assert (manifest.round_id, manifest.model, manifest.version) == (round_.pk, round_.base.digest, 1)
    north.take_part()
    assert north.task() is None
    hub.work()
    assert north.task() is None
    assert south.task() == manifest


def test_a_refused_update_brings_the_task_back(hub, north, south):
    round_ = hub.open_round(north, south)
    manifest = north.task()
    north.put(round_.pk, north.seal(manifest, b"nothing"))
    assert north.task() is None
    hub.work()
    assert north.task() == manifest


def test_the_manifest_says_what_the_hub_will_hold_the_agent_to(hub, north, south):
    round_ = hub.open_round(north, south)
    manifest = north.task()
    assert manifest.schema == SCHEMA.digest.hex()
    assert manifest.classes == ARCHITECTURE.class_names
    assert (manifest.attempts, manifest.codec, manifest.rule) == (6, "float32", "fedavg")
    assert manifest.max_bytes >= len(north.seal(manifest))
    head = north.client.get(f"/api/v1/models/{manifest.model}", headers=north.headers)
    assert weights.digest(body(head)) == round_.base.digest


def test_a_poll_is_the_heartbeat(hub, clock, north):
    Agent.objects.update(last_seen=None)
    north.poll()
    first = north.row.last_seen
    assert (first, north.row.version) == (timezone.now(), "0.1.0")
    clock.shift(timedelta(seconds=4))
    north.poll()
    assert north.row.last_seen == first
    clock.shift(timedelta(seconds=2))
    north.poll()
    assert north.row.last_seen == timezone.now()
