"""Server momentum: a round of a run carries the movement of the round before on, and nothing else does."""

import numpy as np
import pytest
from site_agent import SCHEMA, delta

from apps.federation.models import ModelVersion
from apps.federation.pipeline import runs, storage
from apps.federation.pipeline.configure import configure
from apps.federation.pipeline.finish import fail_round
from apps.federation.pipeline.rollback import rollback
from apps.federation.pipeline.step import Refusal


@pytest.fixture
def momentum(hub):
    """The federation carries nine tenths of a movement on."""
    configure(hub.federation, {"server_momentum": 0.9}, actor="user:1")


def take_part(hub, agents, seeds):
    for agent, seed in zip(agents, seeds, strict=True):
        agent.take_part(seed=seed, num_samples=100)
    hub.work()


def heads():
    """The heads of the published versions, oldest first."""
    versions = ModelVersion.objects.filter(state="PUBLISHED").order_by("number")
    return [storage.read_head(version.digest, SCHEMA) for version in versions]


def averaged(base, seeds):
    """Plain averaging of the deltas of equally large hospitals."""
    changes = [delta(seed) for seed in seeds]
    return {
        name: (array + sum(change[name].astype(np.float64) for change in changes) / len(changes)).astype(np.float32)
        for name, array in base.items()
    }


def carried(head, base, previous, momentum):
    return {
        name: (array + momentum * (base[name].astype(np.float64) - previous[name])).astype(np.float32)
        for name, array in head.items()
    }


def same(one, other):
    return all(np.array_equal(one[name], other[name]) for name in one.keys() | other.keys())


def test_the_second_round_of_a_run_carries_the_movement_of_the_first_on(hub, momentum, north, south):
    hub.open_round(north, south, rounds=2)
    take_part(hub, (north, south), (1, 2))
    take_part(hub, (north, south), (3, 4))
    seed, first, second = heads()
    assert same(first, averaged(seed, (1, 2)))
    assert same(second, carried(averaged(first, (3, 4)), first, seed, 0.9))
    assert [event["facts"]["server_momentum"] for event in hub.events(action="round.evaluating")] == [0.9, 0.9]


def test_by_default_rounds_are_plain_averaging(hub, north, south):
    hub.open_round(north, south, rounds=2)
    take_part(hub, (north, south), (1, 2))
    take_part(hub, (north, south), (3, 4))
    _, first, second = heads()
    assert same(second, averaged(first, (3, 4)))


def test_the_next_run_starts_without_momentum(hub, momentum, north, south):
    for seeds in ((1, 2), (3, 4)):
        round_ = hub.open_round(north, south, rounds=2)
        take_part(hub, (north, south), seeds)
        hub.run(runs.abort(round_.run, actor="user:1"))
    _, first, second = heads()
    assert same(second, averaged(first, (3, 4)))


def test_after_a_rollback_nothing_is_carried_on(hub, momentum, north, south):
    hub.open_round(north, south, rounds=2)
    take_part(hub, (north, south), (1, 2))
    _, following = rollback(ModelVersion.objects.get(number=1), actor="user:1")
    hub.run(following)
    take_part(hub, (north, south), (3, 4))
    seed, _, restored, second = heads()
    assert same(restored, seed)
    assert same(second, averaged(seed, (3, 4)))


def test_a_round_that_is_tried_again_carries_the_same_movement_on(hub, momentum, north, south):
    hub.open_round(north, south, rounds=2)
    take_part(hub, (north, south), (1, 2))
    failed = hub.current_round()
    hub.run(fail_round(failed, "stuck", actor="system:worker"))
    again = hub.current_round()
    assert (again.number, again.attempt, again.base_id) == (2, 2, failed.base_id)
    take_part(hub, (north, south), (3, 4))
    seed, first, second = heads()
    assert same(second, carried(averaged(first, (3, 4)), first, seed, 0.9))


def test_momentum_does_not_change_under_an_open_round(hub, north, south):
    hub.open_round(north, south)
    with pytest.raises(Refusal) as refused:
        configure(hub.federation, {"server_momentum": 0.5}, actor="user:1")
    assert (refused.value.code, refused.value.status) == ("round_open", 409)


@pytest.mark.parametrize("value", [-0.1, 1.0, float("nan"), "0.9"])
def test_momentum_has_a_range(hub, value):
    with pytest.raises(Refusal) as refused:
        configure(hub.federation, {"server_momentum": value}, actor="user:1")
    assert (refused.value.code, refused.value.status) == ("setting_range", 400)
