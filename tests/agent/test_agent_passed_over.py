"""Rounds that asked other agents, or closed before this one was done: nothing is wrong, and the journal says so."""

import uuid

import pytest
from agent_program import rows
from hub_double import HubDouble
from hub_http import answer

from client_agent.agent import Agent
from client_agent.errors import NoTaskError, UntrustedError
from client_agent.journal import State
from client_agent.poll import Service, outcome
from client_agent.show import status

HEADER = "X-Hospintel-Not-Selected"


def nothing(told: str) -> object:
    return answer(204, b"", {"Retry-After": "1", HEADER: told})


def test_rounds_that_asked_others_stand_in_the_journal_once(
    agent: Agent, hub: HubDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, run = (str(uuid.uuid4()) for _ in range(3))
    for told in (f"{first} 1 {run}", f"{first} 1 {run}, {second} 2 {run}"):
        hub.inject("GET", "/task", nothing(told))
    with pytest.raises(NoTaskError):
        Service(agent).once(timeout=90)
    found = sorted(rows(agent.home), key=lambda row: row.number)
    assert [(str(row.round_id), row.number, row.run_id) for row in found] == [(first, 1, run), (second, 2, run)]
    assert {(row.kind, row.state, row.code) for row in found} == {("train", State.EXPIRED, "not_selected")}
    assert status(agent.home, agent.config) is None
    shown = capsys.readouterr().out
    assert "the hub asked other hospitals in this round; nothing is wrong, a later one asks this agent" in shown


def test_an_agent_that_is_asked_after_all_takes_part(agent: Agent, hub: HubDouble) -> None:
    round_id = uuid.uuid4()
    hub.inject("GET", "/task", nothing(f"{round_id} 1 {uuid.uuid4()}"))
    hub.inject("GET", "/task", lambda _handler: bool(hub.open_round(round_id=round_id)) and False)
    outcome(Service(agent).once(timeout=60))
    (row,) = rows(agent.home)
    assert (row.round_id, row.state, row.code) == (round_id, State.ACCEPTED, "")


def test_a_round_that_asked_others_leaves_what_is_known_of_it(agent: Agent, hub: HubDouble) -> None:
    round_ = hub.open_round()
    service = Service(agent)
    outcome(service.once(timeout=60))
    hub.close(round_)
    hub.inject("GET", "/task", nothing(f"{round_.manifest.round_id} 1 {round_.manifest.run_id}"))
    with pytest.raises(NoTaskError):
        service.once(timeout=60)
    assert [row.state for row in rows(agent.home)] == [State.ACCEPTED]


# The same names in every process: tests are shared out by them.
ROUND, RUN = uuid.UUID(int=1), uuid.UUID(int=2)


@pytest.mark.parametrize("told", ["round 1", f"{ROUND} one {RUN}", f"{ROUND} 1"])
def test_what_is_no_list_of_rounds_is_not_believed(agent: Agent, hub: HubDouble, told: str) -> None:
    hub.inject("GET", "/task", nothing(told))
    with pytest.raises(UntrustedError) as caught:
        Service(agent).once(timeout=60)
    assert caught.value.code == "answer_malformed"
    assert rows(agent.home) == []


@pytest.mark.parametrize("code", ["not_needed", "not_selected"])
def test_a_round_that_did_not_need_the_update_is_over_and_not_refused(agent: Agent, hub: HubDouble, code: str) -> None:
    hub.open_round()
    hub.inject("PUT", "/update", answer(409, {"code": code, "detail": "Nothing is wrong."}))
    row = Service(agent).once(timeout=60)
    assert (row.state, row.code) == (State.EXPIRED, code)
    assert "nothing is wrong" in row.detail


def test_a_round_that_is_full_is_learned_of_before_anything_is_sealed(agent: Agent, hub: HubDouble) -> None:
    hub.open_round()
    told = {"state": None, "code": "not_needed", "detail": "", "received": 0, "attempts_left": 6}
    hub.inject("GET", "/update", answer(200, {**told, "round_state": "PUBLISHED"}))
    row = Service(agent).once(timeout=60)
    assert (row.state, row.code, row.attempt) == (State.EXPIRED, "not_needed", 0)
    assert hub.count("PUT", "") == 0
