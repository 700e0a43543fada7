"""What the hub says no to, and what the agent does then."""

import logging

import numpy as np
import pytest
from agent_program import rows
from hub_double import HubDouble
from hub_http import answer
from stepped_clock import SteppedClock

from client_agent.agent import Agent
from client_agent.errors import (
    HubRefusedError,
    NoTaskError,
    needs_a_person,
)
from client_agent.journal import State
from client_agent.poll import Service, outcome
from hospintel_core import architectures
from hospintel_core.plan import Plan


def test_a_refusal_that_another_seal_can_help_is_tried_again_without_training(
    agent: Agent, hub: HubDouble, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    round_ = hub.open_round()
    hub.verdicts = ["update_refused"]
    outcome(Service(agent).once(timeout=60))
    assert [update.header.attempt for update in round_.updates] == [1, 2]
    assert len({update.header.nonce for update in round_.updates}) == 2
    assert sum("training on" in message for message in caplog.messages) == 1


def test_a_refusal_of_the_delta_itself_is_final_and_told(
    agent: Agent, hub: HubDouble, caplog: pytest.LogCaptureFixture
) -> None:
    round_ = hub.open_round()
    hub.verdicts = ["norm_range"]
    service = Service(agent)
    row = service.once(timeout=60)
    assert (row.state, row.code) == (State.REFUSED, "norm_range")
    with pytest.raises(HubRefusedError):
        outcome(row)
    assert any("norm_range" in message for message in caplog.messages)
    with pytest.raises(NoTaskError):
        service.once(timeout=30)
    assert len(round_.updates) == 1


def test_a_hub_that_keeps_refusing_is_left_alone_after_its_attempts(agent: Agent, hub: HubDouble) -> None:
    round_ = hub.open_round()
    hub.verdicts = ["update_refused"] * 10
    row = Service(agent).once(timeout=60)
    assert (row.state, row.code) == (State.REFUSED, "update_refused")
    assert len(round_.updates) == round_.manifest.attempts


def test_a_round_that_is_offered_after_its_refusal_is_polled_ever_more_slowly(
    agent: Agent, hub: HubDouble, clock: SteppedClock
) -> None:
    hub.open_round()
    hub.verdicts = ["norm_range"]
    service = Service(agent)
    service.once(timeout=60)
    before = len(hub.seen)
    with pytest.raises(NoTaskError):
        service.once(timeout=600)
    asked = [seen.path.endswith("/checkpoint") for seen in hub.seen[before:]]
    assert asked.count(False) < 60
    # At the audit once a minute.
    assert asked.count(True) <= 11


def test_a_round_that_closed_during_the_training_is_dropped_for_the_next_one(agent: Agent, hub: HubDouble) -> None:
    first = hub.open_round(1)
    service = Service(agent)

    def close_first(_handler: object) -> bool:
        hub.close(first)
        hub.open_round(2)
        return False

    hub.inject("GET", "/update", close_first)
    assert service.once(timeout=60).state == State.EXPIRED
    assert service.once(timeout=60).state == State.ACCEPTED
    assert first.updates == []


def test_a_training_whose_round_has_ended_is_stopped(
    agent: Agent, hub: HubDouble, clock: SteppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    round_ = hub.open_round(plan=Plan(epochs=100, learning_rate=0.001))
    ticks = iter(range(10**9))
    # Every look at the clock is a second later: the training takes minutes.
    monkeypatch.setattr(clock, "monotonic", lambda: float(next(ticks)))

    def close(_handler: object) -> bool:
        hub.close(round_)
        return False

    hub.inject("GET", "/update", lambda _: False, close)
    row = Service(agent).once(timeout=None)
    assert (row.state, row.detail) == (State.EXPIRED, "it ended during the training")
    assert round_.updates == []


def test_a_training_that_fails_is_given_up_and_not_repeated(agent: Agent, hub: HubDouble) -> None:
    head = architectures.initial_head(hub.architecture, seed=1)
    round_ = hub.open_round(model=hub.add_model({name: array * np.float32(1e38) for name, array in head.items()}))
    with np.errstate(all="ignore"):
        row = Service(agent).once(timeout=60)
    assert (row.state, row.code) == (State.REFUSED, "training_not_finite")
    assert round_.updates == []


def test_a_round_that_closes_under_the_upload_is_expired(agent: Agent, hub: HubDouble) -> None:
    hub.open_round()
    hub.inject("PUT", "/update", answer(409, {"code": "round_closed", "detail": "This round no longer takes updates."}))
    row = Service(agent).once(timeout=60)
    assert (row.state, row.code) == (State.EXPIRED, "round_closed")


def test_an_update_of_an_aborted_run_is_over_and_not_refused(agent: Agent, hub: HubDouble) -> None:
    hub.open_round()
    hub.verdicts = ["run_aborted"]
    row = Service(agent).once(timeout=60)
    assert (row.state, row.code, row.detail) == (State.EXPIRED, "run_aborted", "the run was aborted")


def test_a_round_past_its_deadline_is_not_begun(agent: Agent, hub: HubDouble, clock: SteppedClock) -> None:
    hub.open_round(deadline_ms=clock.now_ms() - 1)
    assert Service(agent).once(timeout=60).state == State.EXPIRED
    assert hub.count("GET", "/models/") == 0


def test_a_task_that_the_hub_replaced_is_expired_in_the_journal(agent: Agent, hub: HubDouble) -> None:
    first = hub.open_round(1)
    service = Service(agent)

    def replace_first(handler) -> bool:  # type: ignore[no-untyped-def]
        hub.close(first)
        hub.open_round(2)
        handler.cut()
        return True

    hub.inject("GET", "/models/", replace_first)
    service.once(timeout=60)
    assert {row.number: row.state for row in rows(agent.home)} == {1: State.EXPIRED, 2: State.ACCEPTED}


def test_a_hub_that_lost_the_update_gets_it_again(agent: Agent, hub: HubDouble) -> None:
    round_ = hub.open_round()
    hub.undecided = True

    def restore_an_old_backup(_handler: object) -> bool:
        round_.updates.clear()
        hub.undecided = False
        return False

    hub.inject("GET", "/update", lambda _: False, lambda _: False, restore_an_old_backup)
    outcome(Service(agent).once(timeout=60))
    assert [update.header.attempt for update in round_.updates] == [2]


@pytest.mark.parametrize("code", ["token_invalid", "agent_revoked"])
def test_the_service_ends_where_the_hub_no_longer_knows_the_agent(agent: Agent, hub: HubDouble, code: str) -> None:
    if code == "token_invalid":
        hub.agents.clear()
    else:
        hub.revoked.update(hub.agents)
    with pytest.raises(HubRefusedError) as caught:
        Service(agent).run()
    assert caught.value.code == code
    assert needs_a_person(caught.value)


def test_a_revocation_in_the_middle_of_a_round_ends_the_service(agent: Agent, hub: HubDouble) -> None:
    hub.open_round()
    hub.inject("PUT", "/update", answer(403, {"code": "agent_revoked", "detail": "Revoked."}))
    with pytest.raises(HubRefusedError, match="Revoked"):
        Service(agent).run()
