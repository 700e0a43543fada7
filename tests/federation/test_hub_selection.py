"""Whom a round asks: all, a part by chance, or those that were last used longest ago; and some more than are needed."""

import hashlib
import uuid

import pytest
from hub_driver import assert_refused

from apps.federation import queries
from apps.federation.ladder import places
from apps.federation.models import Agent, Run
from apps.federation.pipeline.choose import choose, online
from apps.federation.visibility import own_hospitals


@pytest.fixture
def four(enrolled, cast, north, south):
    """The agents of North and South, and one more of each."""
    return [north, south, enrolled(cast.north), enrolled(cast.south)]


def by_id(agents, ids):
    """Those of the agents that have these ids, in the order of the ids."""
    return [next(agent for agent in agents if agent.credentials.agent_id == pk) for pk in ids]


def others(agents, chosen):
    return [agent for agent in agents if agent not in chosen]


def hand_worked(run_id, number, agents):
    """The order of chance: SHA-256 of run, number and agent."""
    ids = [agent.credentials.agent_id for agent in agents]
    return sorted(ids, key=lambda pk: hashlib.sha256(f"{run_id} {number} {pk}".encode()).hexdigest())


@pytest.mark.parametrize(
    ("online_now", "least", "fraction", "over", "asked", "wanted"),
    [
        (4, 2, 1.0, 0.0, 4, None),
        (4, 2, 0.5, 0.0, 2, None),
        (4, 2, 0.01, 0.0, 2, None),
        (4, 2, 0.51, 0.0, 3, None),
        (4, 3, 0.5, 0.0, 3, None),
        (4, 2, 0.5, 0.01, 3, 2),
        (4, 2, 0.5, 0.5, 3, 2),
        (4, 2, 0.5, 1.0, 4, 2),
        (4, 2, 1.0, 1.0, 4, None),
        (3, 1, 0.5, 0.25, 3, 2),
    ],
)
@pytest.mark.parametrize("selection", ["random", "freshness"])
def test_how_many_are_asked_and_wanted(hub, four, selection, online_now, least, fraction, over, asked, wanted):
    hub.configure(selection=selection, min_updates=least, selection_fraction=fraction, over_select=over)
    for agent in four[:online_now]:
        agent.poll()
    run = Run(id=uuid.uuid4(), federation=hub.federation)
    found = choose(run, 1, online(hub.federation))
    assert (len(set(found.agents)), found.wanted) == (asked, wanted)


def test_chance_is_drawn_from_run_and_number_so_that_a_retry_asks_the_same(hub, clock, four):
    hub.configure(selection="random", selection_fraction=0.5)
    round_ = hub.open_round(*four, rounds=2)
    drawn = hand_worked(round_.run_id, 1, four)
    assert round_.expected == drawn[:2]
    chosen = by_id(four, round_.expected)
    chosen[0].take_part()
    hub.work()
    clock.shift(hub.federation.deadline)
    for agent in four:
        agent.poll()
    hub.tick()
    again = hub.current_round()
    assert (again.number, again.attempt, again.expected) == (1, 2, drawn[:2])
    clock.shift(10)
    hub.finish_honestly(*chosen)
    assert hub.current_round().expected == hand_worked(round_.run_id, 2, four)[:2]


def test_who_leaves_changes_nothing_for_the_others(hub, four):
    for agent in four:
        agent.poll()
    hub.configure(selection="random", selection_fraction=0.5)
    run = Run(id=uuid.uuid4(), federation=hub.federation)
    there = online(hub.federation)
    first, second = choose(run, 1, there).agents
    without = [agent for agent in there if str(agent.pk) != first]
    assert choose(run, 1, without).agents[0] == second


def test_those_last_used_longest_ago_come_first(hub, clock, four):
    hub.configure(selection="freshness", selection_fraction=0.5)
    never_used = sorted(agent.credentials.agent_id for agent in four)
    hub.open_round(*four, rounds=3)
    asked = []
    for _ in range(3):
        chosen = by_id(four, hub.current_round().expected)
        asked.append([agent.credentials.agent_id for agent in chosen])
        clock.shift(10)
        for agent in four:
            agent.poll()
        for seed, agent in enumerate(chosen):
            agent.take_part(seed=seed)
            hub.work()
            clock.shift(1)
    assert asked == [never_used[:2], never_used[2:], never_used[:2]]


def test_who_is_not_asked_gets_no_task_is_told_so_and_cannot_send(hub, cast, four):
    hub.configure(selection="random", selection_fraction=0.5)
    round_ = hub.open_round(*four)
    chosen = by_id(four, round_.expected)
    manifest = chosen[0].task()
    for agent in others(four, chosen):
        answer = agent.poll()
        assert answer.status_code == 204
        assert answer.headers["X-Hospintel-Not-Selected"] == f"{round_.pk} 1 {round_.run_id}"
        assert_refused(agent.put(round_.pk, agent.seal(manifest)), 409, "not_selected")
    shown = places(hub.federation, round_, own_hospitals(cast.reader))
    said = {place.agent.pk: place.said for place in shown if place.agent}
    assert {said[agent.row.pk] for agent in others(four, chosen)} == {"Not asked in this round"}
    assert {said[agent.row.pk] for agent in chosen} == {"Training"}
    hub.finish_honestly(*chosen)


def test_where_all_are_asked_nobody_is_told_anything(hub, north, south, four):
    hub.open_round(north, south)
    north.take_part()
    assert north.poll().status_code == 204
    assert "X-Hospintel-Not-Selected" not in north.poll().headers


def test_of_more_than_are_needed_the_round_closes_with_the_first(hub, four):
    hub.configure(selection="random", selection_fraction=0.5, over_select=0.5)
    round_ = hub.open_round(*four)
    assert (len(round_.expected), round_.wanted) == (3, 2)
    *first, last = by_id(four, round_.expected)
    late = last.seal(last.task())
    assert queries.progress(round_).expected == 2
    for seed, agent in enumerate(first):
        agent.take_part(seed=seed)
        hub.work()
    round_.refresh_from_db()
    assert round_.state == "PUBLISHED"
    # Before it sends, and when it does.
    told = last.status(round_.pk)
    assert (told["state"], told["code"], told["round_state"]) == (None, "not_needed", "PUBLISHED")
    assert "Nothing is wrong" in told["detail"]
    assert_refused(last.put(round_.pk, late), 409, "not_needed")


def test_an_update_that_came_while_the_wanted_one_was_inspected_counts_too(hub, four):
    hub.configure(selection="random", selection_fraction=0.5, over_select=1.0)
    round_ = hub.open_round(*four)
    for seed, agent in enumerate(four[:3]):
        agent.take_part(seed=seed)
    hub.work()
    round_.refresh_from_db()
    assert round_.state == "PUBLISHED"
    assert round_.updates.filter(state="CONSUMED").count() == 3


def test_where_those_chosen_have_gone_away_others_are_asked(hub, clock, four):
    hub.configure(selection="random", selection_fraction=0.5)
    for agent in four:
        agent.poll()
    clock.shift(1)
    hub.start_run()
    round_ = hub.current_round()
    chosen = by_id(four, round_.expected)
    clock.shift(hub.federation.seen_within - 1)
    hub.tick()
    round_.refresh_from_db()
    assert len(round_.expected) == 2, "they have called lately"
    clock.shift(1)
    rest = others(four, chosen)
    for agent in rest:
        agent.poll()
    hub.tick()
    round_.refresh_from_db()
    assert set(round_.expected) == {agent.credentials.agent_id for agent in four}
    assert hub.event(action="round.call")["facts"] == {"federation": "brain-mri", "called": 2}
    hub.tick()
    assert len(hub.events(action="round.call")) == 1
    for seed, agent in enumerate(rest):
        agent.take_part(seed=seed)
    hub.work()
    clock.shift(hub.federation.grace)
    hub.tick()
    round_.refresh_from_db()
    assert round_.state == "PUBLISHED"


def test_an_agent_that_trains_is_counted_on_until_the_deadline_would_be_over(hub, clock, four):
    hub.configure(selection="random", selection_fraction=0.5)
    round_ = hub.open_round(*four)
    clock.shift(1)
    chosen = by_id(four, round_.expected)
    for agent in chosen:
        assert agent.task() is not None
    clock.shift(hub.federation.deadline)
    for agent in others(four, chosen):
        agent.poll()
    hub.tick()
    round_.refresh_from_db()
    assert len(round_.expected) == 2
    clock.shift(1)
    for agent in others(four, chosen):
        agent.poll()
    hub.tick()
    round_.refresh_from_db()
    assert len(round_.expected) == 4


def test_the_selection_of_a_round_is_that_of_its_opening(hub, four):
    round_ = hub.open_round(*four)
    hub.configure(selection="random", selection_fraction=0.5)
    assert all(agent.task() is not None for agent in four)
    hub.finish_honestly(*four)
    assert round_.selection == "all"
    assert Agent.objects.count() == 5
