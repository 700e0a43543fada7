"""What the network does to a round: delays, cuts, outages. Nothing is lost and nothing is done twice."""

import logging

import pytest
from hub_double import HubDouble
from hub_http import answer, busy, cut_answer, cut_upload
from stepped_clock import SteppedClock

from client_agent.agent import Agent
from client_agent.poll import Service, outcome


def test_retry_after_is_honoured(agent: Agent, hub: HubDouble, clock: SteppedClock) -> None:
    hub.open_round()
    hub.inject("GET", "/task", busy(503, "7"))
    outcome(Service(agent).once(timeout=60))
    assert any(7 <= wait <= 8 for wait in clock.waits)


def test_an_endless_retry_after_is_capped_at_an_hour(agent: Agent, hub: HubDouble, clock: SteppedClock) -> None:
    hub.open_round()
    hub.inject("GET", "/task", busy(503, "999999999"))
    outcome(Service(agent).once(timeout=None))
    assert max(clock.waits) <= 3601


def test_waits_grow_with_jitter_up_to_a_minute(agent: Agent, hub: HubDouble, clock: SteppedClock) -> None:
    hub.open_round()
    hub.inject("GET", "/task", *[busy(502) for _ in range(30)])
    outcome(Service(agent).once(timeout=None))
    failures = clock.waits[:30]
    assert all(wait <= min(60, 0.5 * 2**number) for number, wait in enumerate(failures))
    assert max(failures) > 10
    assert len(set(failures)) == 30


@pytest.mark.parametrize("where", [("GET", "/task"), ("GET", "/models/"), ("GET", "/update"), ("PUT", "/update")])
def test_a_hub_that_is_busy_at_any_call_only_delays_the_round(
    agent: Agent, hub: HubDouble, where: tuple[str, str]
) -> None:
    hub.open_round()
    hub.inject(*where, busy(503, "1"), busy(429, "1"), busy(500), cut_answer(10), cut_upload(0))
    outcome(Service(agent).once(timeout=None))
    assert len(hub.rounds[0].updates) == 1


def test_an_upload_whose_answer_was_lost_is_not_made_twice(agent: Agent, hub: HubDouble) -> None:
    round_ = hub.open_round()
    hub.inject("PUT", "/update", cut_answer(3))
    outcome(Service(agent).once(timeout=60))
    assert len(round_.updates) == 1
    assert hub.count("PUT", "/update") == 1


def test_an_offset_that_differs_is_taken_over_from_the_hub(agent: Agent, hub: HubDouble) -> None:
    round_ = hub.open_round()
    hub.inject("PUT", "/update", answer(409, {"code": "offset_mismatch", "detail": "0 bytes are here.", "received": 0}))
    outcome(Service(agent).once(timeout=60))
    assert round_.updates[0].header.attempt == 1


def test_an_upload_that_is_whole_but_undecided_is_completed_by_an_empty_part(agent: Agent, hub: HubDouble) -> None:
    round_ = hub.open_round()

    def take_the_bytes_and_break(handler) -> bool:  # type: ignore[no-untyped-def]
        digest = handler.headers["Upload-Digest"]
        round_.parts[digest] = bytearray(handler.read_body())
        handler.cut()
        return True

    hub.inject("PUT", "/update", take_the_bytes_and_break)
    outcome(Service(agent).once(timeout=60))
    assert [seen.size for seen in hub.seen if seen.method == "PUT"][-1] == 0
    assert round_.updates[0].header.attempt == 1


def test_a_hub_that_is_away_for_ten_minutes_loses_nothing(agent: Agent, hub: HubDouble, clock: SteppedClock) -> None:
    round_ = hub.open_round()
    hub.inject("PUT", "/update", lambda handler: clock.at(0, go_away) or handler.cut() or True)

    def go_away() -> None:
        hub.stop()
        clock.at(clock.passed + 600, hub.start)

    outcome(Service(agent).once(timeout=None))
    assert clock.passed >= 600
    assert len(clock.waits) > 10
    assert max(clock.waits) <= 61
    (update,) = round_.updates
    assert update.header.attempt == 1


def test_the_log_says_when_the_hub_is_back(
    agent: Agent, hub: HubDouble, clock: SteppedClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    hub.inject("GET", "/task", busy(503), busy(503))
    hub.open_round()
    outcome(Service(agent).once(timeout=None))
    told = [record.message for record in caplog.records if record.name == "client_agent.poll"]
    back = [place for place, message in enumerate(told) if message.startswith("the hub answers again, after ")]
    assert len(back) == 1
    assert [" (hub_busy)" in message for message in told[: back[0]]].count(True) == 2


def test_after_an_outage_of_more_than_fifteen_minutes_the_kept_delta_is_sealed_again(
    agent: Agent, hub: HubDouble, clock: SteppedClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    round_ = hub.open_round()

    def away(handler) -> bool:  # type: ignore[no-untyped-def]
        clock.advance(16 * 60)
        handler.cut()
        return True

    hub.inject("PUT", "/update", away)
    outcome(Service(agent).once(timeout=None))
    (update,) = round_.updates
    assert (update.header.attempt, update.header.seq) == (2, 2)
    assert update.header.issued_ms >= round_.manifest.issued_ms + 16 * 60 * 1000
    assert sum("training on" in message for message in caplog.messages) == 1


def test_a_clock_that_jumped_is_answered_by_sealing_again(agent: Agent, hub: HubDouble) -> None:
    round_ = hub.open_round()
    hub.inject("PUT", "/update", answer(422, {"code": "clock_skew", "detail": "Sealed too long ago."}))
    outcome(Service(agent).once(timeout=60))
    assert round_.updates[0].header.attempt == 2
