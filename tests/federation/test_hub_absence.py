"""Hospitals that miss rounds in a row: no round waits for them, until they are back."""

import pytest
from looking import see

from apps.federation import queries
from apps.federation.ladder import places
from apps.federation.models import Participation
from apps.federation.pipeline import enrol
from apps.federation.visibility import own_hospitals


@pytest.fixture
def west(enrolled, hub):
    """The agent of a third hospital."""
    return enrolled(enrol.add_hospital(hub.federation, "West Clinic", actor="system:test"))


def ids(*agents):
    return sorted(agent.credentials.agent_id for agent in agents)


def west_of(hub):
    return Participation.objects.get(federation=hub.federation, hospital__name="West Clinic")


def a_round(hub, clock, *agents, beside=()):
    """Let these agents take part in the open round, while others call; returns the round when it has ended."""
    round_ = hub.current_round()
    clock.shift(6)
    for agent in (*agents, *beside):
        agent.poll()
    for seed, agent in enumerate(agents):
        agent.take_part(seed=seed)
        hub.work()
    clock.shift(1)
    round_.refresh_from_db()
    if round_.state == "COLLECTING":
        clock.shift(hub.federation.grace)
        for agent in (*agents, *beside):
            agent.poll()
        hub.tick()
        round_.refresh_from_db()
    assert round_.state == "PUBLISHED"
    return round_


def changes(hub):
    found = [event for event in hub.events() if event["action"] in {"hospital.absent", "hospital.back"}]
    return [(event["action"], event["actor"], event["facts"]["missed"]) for event in found]


def test_after_three_rounds_without_it_no_round_waits_for_a_hospital_and_it_is_back_by_calling(
    hub, cast, clock, north, south, west
):
    # It is not taken for offline in between: only what it misses counts.
    hub.configure(seen_within=3000)
    hub.open_round(north, south, west, rounds=9)
    for missed in (1, 2, 3):
        round_ = a_round(hub, clock, north, south)
        assert sorted(round_.expected) == ids(north, south, west)
        assert west_of(hub).missed == missed
    assert west_of(hub).absent_since is not None
    assert changes(hub) == [("hospital.absent", "system:worker", 3)]
    # The fourth was opened in the moment in which the third ended.
    assert sorted(hub.current_round().expected) == ids(north, south)
    round_ = a_round(hub, clock, north, south)
    assert (round_.closed_at - round_.opened_at).total_seconds() < hub.federation.grace
    place = next(
        one
        for one in places(hub.federation, queries.newest_round(hub.federation), own_hospitals(cast.reader))
        if one.hospital == "West Clinic"
    )
    assert place.advice.cause == "Missing from the last 4 rounds: no round waits for it any more."
    assert "Absent, not waited for" in see(cast.admin, "/hospitals/")
    assert "no round waits for it any more" in see(cast.reader, "/")
    west.poll()
    assert west_of(hub).absent_since is None
    assert changes(hub)[1:] == [("hospital.back", west.row.actor, 4)]
    assert sorted(hub.current_round().expected) == ids(north, south), "from the next round on"
    a_round(hub, clock, west, north, south)
    assert west_of(hub).missed == 0
    assert sorted(hub.current_round().expected) == ids(north, south, west)
    assert "Absent, not waited for" not in see(cast.admin, "/hospitals/")


def test_one_that_is_back_and_goes_again_is_absent_after_one_more_round(hub, clock, north, south, west):
    hub.configure(seen_within=3000)
    hub.open_round(north, south, west, rounds=9)
    for _ in range(4):
        a_round(hub, clock, north, south)
    west.poll()
    # It called while the next round was open, which did not wait for it: that one says nothing.
    for _ in range(2):
        assert west_of(hub).missed == 2
        a_round(hub, clock, north, south)
    assert [action for action, *_ in changes(hub)] == ["hospital.absent", "hospital.back", "hospital.absent"]


def test_one_that_calls_and_never_delivers_is_back_with_an_accepted_update_and_not_by_calling(
    hub, clock, north, south, west
):
    hub.open_round(north, south, west, rounds=9)
    for _ in range(3):
        a_round(hub, clock, north, south, beside=[west])
    assert west_of(hub).absent_since is not None
    west.poll()
    assert west_of(hub).absent_since is not None
    assert sorted(hub.current_round().expected) == ids(north, south)
    assert west.task() is not None, "it may show that it is back"
    west.take_part(seed=9)
    hub.work()
    a_round(hub, clock, north, south)
    assert changes(hub)[1:] == [("hospital.back", "system:worker", 3)]
    assert sorted(hub.current_round().expected) == ids(north, south, west)


def test_where_the_others_do_not_suffice_an_absent_hospital_is_expected_again(hub, clock, north, south, west):
    hub.open_round(north, south, west, rounds=9)
    for _ in range(3):
        a_round(hub, clock, north, south, beside=[west])
    hub.configure(min_updates=3)
    a_round(hub, clock, north, south, west)
    assert sorted(hub.current_round().expected) == ids(north, south, west)


def test_a_round_that_did_not_ask_a_hospital_is_not_missed(hub, clock, north, south, west):
    hub.configure(selection="freshness", selection_fraction=0.67, absent_after=1)
    hub.open_round(north, south, west, rounds=3)
    agents = [north, south, west]
    for _ in range(3):
        expected = hub.current_round().expected
        chosen = [agent for agent in agents if agent.credentials.agent_id in expected]
        a_round(hub, clock, *chosen, beside=[agent for agent in agents if agent not in chosen])
    assert changes(hub) == []
    assert set(Participation.objects.values_list("missed", flat=True)) == {0}


def test_without_the_setting_every_round_waits(hub, clock, north, south, west):
    hub.configure(seen_within=3000, absent_after=0)
    hub.open_round(north, south, west, rounds=9)
    for _ in range(4):
        a_round(hub, clock, north, south)
    assert changes(hub) == []
    assert sorted(hub.current_round().expected) == ids(north, south, west)


def test_a_hospital_whose_agent_never_called_is_not_absent(hub, clock, north, south, west):
    hub.open_round(north, south, rounds=9)
    for _ in range(4):
        a_round(hub, clock, north, south)
    assert (west_of(hub).missed, changes(hub)) == (0, [])
