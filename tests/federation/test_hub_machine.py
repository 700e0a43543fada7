"""Sequences of whatever may happen to rounds, by the hundred: no update is lost or counted twice, versions form a line.

HOSPINTEL_TEST_SEQUENCES=2000 looks for new ones; without it the same few are tried each time.
"""

import os
from collections import Counter

import pytest
from django.db import connection
from hypothesis import HealthCheck
from hypothesis import settings as how
from hypothesis.stateful import run_state_machine_as_test
from round_machine import RoundMachine
from world import World, build, enrol_agent, take_snapshot

MANY = int(os.environ.get("HOSPINTEL_TEST_SEQUENCES", "0"))


FEW, SOME, MOST = 30, 5, 20
# Sequences that reach none of these prove nothing.
REACHED = {
    "a process that died",
    "round PUBLISHED",
    "round FAILED aborted",
    "round FAILED superseded",
    "update CONSUMED",
    "update REFUSED clock_skew",
    "update REFUSED agent_revoked",
    "version FINE_TUNE",
    "version ROLLBACK",
}


def three():
    """The world, with a third agent that takes part."""
    world = build()
    return World(world.cast, {**world.agents, "third": enrol_agent(world.cast.north)})


@pytest.fixture(scope="module")
def snapshot(django_db_setup, django_db_blocker, tmp_path_factory):
    with django_db_blocker.unblock(), take_snapshot(tmp_path_factory.mktemp("world"), three) as taken:
        yield taken


@pytest.mark.skipif(
    connection.vendor != "sqlite", reason="its processes are forked, which share no pool of connections"
)
def test_whatever_happens_no_update_is_lost_or_counted_twice(snapshot, settings, django_db_blocker):
    reached = Counter()
    with django_db_blocker.unblock():
        for more in range(MOST):
            run_state_machine_as_test(
                lambda: RoundMachine(snapshot, settings, reached),
                settings=how(
                    max_examples=MANY or (SOME if more else FEW),
                    stateful_step_count=50 if MANY else 30,
                    # The same few sequences each time; others only where those did not come far enough.
                    derandomize=not MANY and not more,
                    database=None,
                    deadline=None,
                    suppress_health_check=list(HealthCheck),
                    print_blob=bool(MANY or more),
                ),
            )
            if reached.keys() >= REACHED:
                break
    for line in sorted(reached.items()):
        print(*line)  # With -s: how far the sequences came.
    assert reached.keys() >= REACHED
