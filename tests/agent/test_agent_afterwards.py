"""What became of an update after it was accepted: asked until it is known, told once."""

import logging

import pytest
from agent_program import Command, rows
from hub_double import HubDouble
from hub_http import answer
from stepped_clock import SteppedClock

from client_agent.agent import Agent
from client_agent.clock import Stop, StopRequested
from client_agent.journal import State
from client_agent.poll import Service


def serve(agent: Agent, clock: SteppedClock, stop: Stop, seconds: float) -> None:
    clock.at(clock.passed + seconds, lambda: setattr(stop, "requested", True))
    with pytest.raises(StopRequested):
        Service(agent).run()
    stop.requested = False


def test_an_accepted_update_that_was_superseded_says_so_in_log_status_and_report(
    agent: Agent,
    hub: HubDouble,
    clock: SteppedClock,
    stop: Stop,
    command: Command,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    round_ = hub.open_round(7)
    clock.at(5, lambda: hub.close(round_, "FAILED", "superseded"))
    serve(agent, clock, stop, 30)
    (row,) = rows(agent.home)
    assert (row.state, row.code) == (State.ACCEPTED, "superseded")
    told = [record for record in caplog.records if "not used" in record.message]
    assert [(record.levelname, record.message) for record in told] == [
        ("WARNING", "round 7: accepted, but not used: another version was published meanwhile (superseded)")
    ]
    home = str(agent.home.folder)
    assert "ACCEPTED (superseded)" in command.run("status", "--home", home).stdout
    assert (
        "accepted, but not used: another version was published meanwhile"
        in command.run("report", "--home", home).stdout
    )


def test_a_round_that_was_published_is_asked_about_once_more_and_nothing_is_told(
    agent: Agent, hub: HubDouble, clock: SteppedClock, stop: Stop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    round_ = hub.open_round()
    clock.at(5, lambda: hub.close(round_, "PUBLISHED"))
    serve(agent, clock, stop, 10)
    asked = hub.count("GET", "/update")
    serve(agent, clock, stop, 60)
    assert hub.count("GET", "/update") == asked
    assert (rows(agent.home)[0].code, agent.journal.unsettled()) == ("", [])
    assert not any("not used" in message for message in caplog.messages)


def test_the_next_task_does_not_wait_for_what_became_of_the_one_before(
    agent: Agent, hub: HubDouble, clock: SteppedClock, stop: Stop
) -> None:
    first, second = hub.open_round(1), hub.open_round(2)
    # The first ends while the second is on its way.
    hub.inject("PUT", str(second.manifest.round_id), lambda _: hub.close(first, "FAILED", "quorum"))
    serve(agent, clock, stop, 0.5)
    codes = {row.number: (row.state, row.code) for row in rows(agent.home)}
    assert codes == {1: (State.ACCEPTED, "quorum"), 2: (State.ACCEPTED, "")}
    order = [(seen.method, seen.path) for seen in hub.seen]
    back = [place for place, (method, path) in enumerate(order) if str(first.manifest.round_id) in path][-1]
    assert back > max(place for place, (method, _) in enumerate(order) if method == "PUT")


def test_of_a_hub_that_no_longer_knows_the_round_nobody_asks_again(
    agent: Agent, hub: HubDouble, clock: SteppedClock, stop: Stop
) -> None:
    round_ = hub.open_round()
    Service(agent).once(timeout=60)
    hub.rounds.remove(round_)
    serve(agent, clock, stop, 20)
    assert agent.journal.unsettled() == []
    assert rows(agent.home)[0].code == ""


def test_a_hub_that_does_not_say_why_is_no_worse(agent: Agent, hub: HubDouble, clock: SteppedClock, stop: Stop) -> None:
    round_ = hub.open_round()
    Service(agent).once(timeout=60)
    hub.close(round_)
    known = hub.update_status(round_, "")
    del known["round_reason"]
    hub.inject("GET", "/update", answer(200, known))
    serve(agent, clock, stop, 5)
    assert rows(agent.home)[0].code == "round_failed"
