"""Stopping and waiting."""

import random
import signal
import threading
import time

import pytest
from stepped_clock import SteppedClock

from client_agent.clock import SOON, Backoff, Stop, StopRequested, SystemClock


def test_a_signal_breaks_into_a_wait_at_once() -> None:
    stop = Stop()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    stop.install()
    clock = SystemClock(stop)
    timer = threading.Timer(0.05, signal.pthread_kill, (threading.get_ident(), signal.SIGTERM))
    timer.start()
    began = time.monotonic()
    try:
        with pytest.raises(StopRequested):
            clock.wait(30)
    finally:
        timer.join()
        for number, handler in before.items():
            signal.signal(number, handler)
    assert time.monotonic() - began < 5


def test_a_request_does_not_break_into_work_but_into_the_next_check() -> None:
    stop = Stop()
    stop.request()
    with pytest.raises(StopRequested):
        stop.check()


def test_a_second_request_ends_work_at_once() -> None:
    stop = Stop()
    stop.request()
    with pytest.raises(StopRequested):
        stop.request()


def test_no_wait_begins_after_a_request() -> None:
    stop = Stop()
    stop.request()
    with pytest.raises(StopRequested):
        SystemClock(stop).wait(30)


def test_a_handler_for_failures_does_not_swallow_a_request() -> None:
    assert not issubclass(StopRequested, Exception)


def test_delays_stay_under_a_doubling_ceiling_and_use_all_of_it() -> None:
    clock = SteppedClock(Stop())
    backoff = Backoff(clock, rng=random.Random(0))
    for _ in range(200):
        backoff.wait()
    assert all(0 <= delay <= min(60, 0.5 * 2**number) for number, delay in enumerate(clock.waits))
    settled = clock.waits[50:]
    assert min(settled) < 5
    assert max(settled) > 55
    backoff.reset()
    assert backoff.delay() <= 0.5


@pytest.mark.parametrize("seed", range(50))
def test_what_was_away_is_asked_again_before_as_much_time_has_passed_again(seed: int) -> None:
    clock = SteppedClock(Stop())
    clock.advance(1000)
    backoff = Backoff(clock, rng=random.Random(seed))
    for _ in range(30):
        away = clock.passed - 1000
        backoff.wait()
        assert clock.waits[-1] <= max(SOON, away)


def test_the_hub_s_wish_is_the_least_and_agents_do_not_come_back_in_step() -> None:
    delays = {Backoff(SteppedClock(Stop())).delay(30) for _ in range(20)}
    assert all(30 <= delay <= 31 for delay in delays)
    assert len(delays) > 10
