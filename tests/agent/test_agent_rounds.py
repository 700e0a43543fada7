"""A round from the hub's offer to its word on the update, and everything that can come between."""

import logging
from pathlib import Path

import numpy as np
import pytest
from agent_program import opened, rows
from hub_double import HubDouble
from hub_http import answer
from stepped_clock import SteppedClock

from client_agent.agent import Agent
from client_agent.clock import Stop, StopRequested
from client_agent.config import Home
from client_agent.errors import (
    DataError,
    HubUnreachableError,
    NoTaskError,
)
from client_agent.journal import State
from client_agent.poll import Service, outcome
from client_agent.train import training_seed
from hospintel_core import architectures, weights
from hospintel_core.training import train_head


def test_a_round_ends_accepted_with_the_delta_of_the_training_scans(agent: Agent, hub: HubDouble) -> None:
    round_ = hub.open_round()
    row = Service(agent).once(timeout=60)
    (update,) = round_.updates
    assert (row.state, update.state) == (State.ACCEPTED, "ACCEPTED")
    split = agent.scans.split(hub.architecture, mirror=True)
    assert update.header.num_samples == len(split.train_labels) == row.samples
    head = weights.loads(hub.models[hub.current], hub.architecture.head_schema)[0]
    seed = training_seed(0, 1, split.train_digest)
    trained, _ = train_head(
        hub.architecture,
        head,
        split.train_features,
        split.train_labels,
        round_.manifest.plan,
        mirrored=split.train_mirrored,
        seed=seed,
    )
    for name, array in update.delta.items():
        np.testing.assert_array_equal(array, trained[name] - head[name])


def test_the_report_is_about_the_received_model_on_the_validation_part(agent: Agent, hub: HubDouble) -> None:
    round_ = hub.open_round()
    Service(agent).once(timeout=60)
    report = round_.updates[0].report
    assert report is not None
    assert report.n == len(agent.scans.split(hub.architecture).validation_labels) > 0


def test_nothing_of_a_finished_round_stays_but_its_row(agent: Agent, hub: HubDouble) -> None:
    hub.open_round()
    row = Service(agent).once(timeout=60)
    assert list(agent.home.rounds.iterdir()) == []
    (kept,) = rows(agent.home)
    assert kept.bytes_up == len(hub.rounds[0].updates[0].sealed)
    assert kept.bytes_down > len(hub.models[hub.current])
    assert kept.final
    assert kept.round_id == row.round_id


def test_sequence_numbers_grow_from_round_to_round(agent: Agent, hub: HubDouble) -> None:
    service = Service(agent)
    for number in (1, 2, 3):
        hub.open_round(number)
        outcome(service.once(timeout=60))
    assert [round_.updates[0].header.seq for round_ in hub.rounds] == [1, 2, 3]


def test_the_model_and_the_features_are_fetched_once_for_many_rounds(agent: Agent, hub: HubDouble) -> None:
    service = Service(agent)
    for number in (1, 2):
        hub.open_round(number)
        service.once(timeout=60)
    assert hub.count("GET", "/models/") == 1


def test_an_evaluate_task_is_answered_with_a_signed_report_and_no_update(agent: Agent, hub: HubDouble) -> None:
    round_ = hub.open_round(3, kind="evaluate")
    row = Service(agent).once(timeout=60)
    assert row.state == State.ACCEPTED
    assert len(round_.reports) == 1
    assert hub.count("PUT", "") == 0


def test_an_evaluation_that_ended_first_is_expired(agent: Agent, hub: HubDouble) -> None:
    hub.open_round(3, kind="evaluate")
    hub.inject("POST", "/report", answer(409, {"code": "round_closed", "detail": "This evaluation has ended."}))
    assert Service(agent).once(timeout=60).state == State.EXPIRED


def test_training_and_evaluation_of_one_round_are_two_tasks(agent: Agent, hub: HubDouble) -> None:
    service = Service(agent)
    first = hub.open_round()
    service.once(timeout=60)
    hub.open_round(kind="evaluate", round_id=first.manifest.round_id)
    hub.rounds.reverse()
    service.once(timeout=60)
    assert {row.kind: row.state for row in rows(agent.home)} == {"train": "ACCEPTED", "evaluate": "ACCEPTED"}


def test_two_hospitals_and_two_rounds_have_different_seeds_and_a_repetition_the_same() -> None:
    one, two = b"one hospital's scans", b"another's"
    seeds = {training_seed(0, 1, one), training_seed(0, 1, two), training_seed(0, 2, one), training_seed(1, 1, one)}
    assert len(seeds) == 4
    assert training_seed(0, 1, one) == training_seed(0, 1, b"one hospital's scans") < 2**63


# -- waiting --------------------------------------------------------------------------------------------------------


def test_once_without_a_task_ends_after_its_timeout(agent: Agent, clock: SteppedClock) -> None:
    with pytest.raises(NoTaskError):
        Service(agent).once(timeout=90)
    assert 90 <= clock.passed < 150


def test_once_with_a_hub_that_stays_away_ends_with_what_kept_it_away(agent: Agent, hub: HubDouble) -> None:
    hub.stop()
    with pytest.raises(HubUnreachableError):
        Service(agent).once(timeout=90)


def test_a_poll_that_waited_asks_again_at_once_whatever_retry_after_says(agent: Agent, hub: HubDouble) -> None:
    clock = agent.clock
    assert isinstance(clock, SteppedClock)
    hub.inject("GET", "/task", lambda _handler: clock.advance(25) is not None)
    hub.inject("GET", "/task", lambda _handler: bool(hub.open_round()) and False)
    outcome(Service(agent).once(timeout=60))
    assert 1.0 not in clock.waits


def test_a_request_to_stop_ends_the_service_between_two_steps(
    agent: Agent, hub: HubDouble, stop: Stop, home: Home, clock: SteppedClock
) -> None:
    hub.open_round()
    hub.inject("PUT", "/update", lambda handler: setattr(stop, "requested", True) or handler.cut() or True)
    with pytest.raises(StopRequested):
        Service(agent).run()
    assert [row.state for row in rows(home)] == [State.SEALED]


def test_a_new_service_goes_on_with_what_the_last_one_left(
    home: Home, hub: HubDouble, clock: SteppedClock, stop: Stop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    hub.open_round()
    hub.inject("PUT", "/update", lambda handler: setattr(stop, "requested", True) or handler.cut() or True)
    with opened(home, stop=stop, clock=clock) as first, pytest.raises(StopRequested):
        Service(first).run()
    stop.requested = False
    with opened(home, stop=stop, clock=clock) as second:
        outcome(Service(second).once(timeout=60))
    assert sum("training on" in message for message in caplog.messages) == 1


def test_a_service_without_usable_scans_refuses_to_start(
    home: Home, tmp_path: Path, clock: SteppedClock, stop: Stop
) -> None:
    for name in architectures.CLASSES:
        (tmp_path / "few" / name).mkdir(parents=True)
        (tmp_path / "few" / name / "one.png").write_bytes(b"")
    with opened(home, stop=stop, clock=clock, data=tmp_path / "few") as agent, pytest.raises(DataError) as caught:
        Service(agent).run()
    assert caught.value.code == "too_few_scans"
