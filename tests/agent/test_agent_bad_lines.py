"""Lines that are slow, break or fall silent: what has arrived is kept, and no more is given up than must be."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from agent_program import wait_until
from fault_proxy import FaultProxy, Weather
from hub_double import HubDouble
from hub_http import cut_upload

from client_agent import parts
from client_agent.agent import Agent
from client_agent.errors import HubUnreachableError
from client_agent.http import Http
from client_agent.hub import Hub
from client_agent.parts import FIRST, LEAST, MOST, PartSize
from client_agent.poll import Service, outcome
from hospintel_core import weights

SLOW = Weather(slow=1.0, rate=8000, slow_seconds=600)


@contextmanager
def over(hub: HubDouble, weather: Weather) -> Iterator[tuple[Hub, FaultProxy]]:
    """The hub over a bad line, for an agent that it knows."""
    hub.agents["token"] = (hub.run_id, b"")
    with FaultProxy(hub.port, weather) as line:
        http = Http(line.url, token="token")
        yield Hub(http, "brain-mri"), line
        http.close()


# -- the size of parts -----------------------------------------------------------------------------------------------


def test_parts_grow_on_a_good_line_and_follow_a_bad_one() -> None:
    size = PartSize()
    assert size.size == FIRST
    for _ in range(4):
        size.sent(size.size, 0.05)
    assert size.size == MOST
    size.sent(MOST, 4000)
    assert size.size == pytest.approx(10 * MOST / 4000, abs=1)
    size.sent(size.size, 8)
    size.sent(100, 5)
    assert size.size > 10_000, "the last part, which is short, says nothing of the line"
    size.broke()
    size.broke()
    assert size.size == LEAST
    assert size.timeout <= 60 + LEAST / 800


def test_a_break_costs_one_part_and_the_next_are_smaller(agent: Agent, hub: HubDouble) -> None:
    round_ = hub.open_round()
    agent.parts.size = LEAST
    hub.inject("PUT", "/update", lambda _: False, cut_upload(100))
    outcome(Service(agent).once(timeout=60))
    sealed = len(round_.updates[0].sealed)
    sizes = [seen.size for seen in hub.seen if seen.method == "PUT"]
    assert sizes[0] == LEAST
    assert sum(sizes) == sealed + sizes[1], "only what was in the broken part is sent twice"
    assert sizes[2] <= max(LEAST, sizes[1] // 4)


# -- slow ------------------------------------------------------------------------------------------------------------


def test_an_upload_that_lies_in_the_system_s_buffer_is_waited_for(
    hub: HubDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system takes the whole part at once; then nothing is heard for as long as the line needs."""
    monkeypatch.setattr(parts, "ANSWER_TIMEOUT", 0.5)
    round_ = hub.open_round()
    sealed = bytes(16_000)
    with over(hub, SLOW) as (slow, _):
        began = time.monotonic()
        size = PartSize()
        done = slow.put_part(
            round_.manifest.round_id, sealed + bytes(1), weights.digest(sealed), slice(0, 16_000), size.timeout
        )
    assert done.offset == 16_000
    assert time.monotonic() - began > 1


def test_a_download_that_breaks_on_a_slow_line_goes_on_from_the_byte_it_had(hub: HubDouble, tmp_path: Path) -> None:
    target = tmp_path / "model"
    part, broken = tmp_path / "model.part", threading.Event()

    with over(hub, SLOW) as (slow, line):

        def cut() -> None:
            wait_until(lambda: part.exists() and part.stat().st_size > 4000)
            # As when the hub is started anew.
            hub.stop()
            line.cut_all()
            broken.set()

        cutting = threading.Thread(target=cut)
        cutting.start()
        with pytest.raises(HubUnreachableError) as caught:
            slow.model(hub.current, target, 100_000)
        cutting.join()
        assert (caught.value.code, broken.is_set()) == ("connection_cut", True)
        had = part.stat().st_size
        hub.start()
        slow.model(hub.current, target, 100_000)
    assert had > 4000
    assert hub.seen[-1].headers["range"] == f"bytes={had}-"
    assert weights.digest(target.read_bytes()) == hub.current


# -- silence ---------------------------------------------------------------------------------------------------------


def test_a_long_poll_into_a_black_hole_is_given_up_in_time(hub: HubDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("client_agent.hub.ANSWER_TIMEOUT", 0.5)
    with over(hub, Weather()) as (cut_off, line):
        line.silence(60)
        began = time.monotonic()
        with pytest.raises(HubUnreachableError) as caught:
            cut_off.task(wait=1)
        assert caught.value.code == "hub_timeout"
        assert 1.5 <= time.monotonic() - began < 30
        line.silence(0)
        hub.open_round()
        assert cut_off.task(wait=1)


def test_a_short_silence_in_a_long_poll_loses_nothing(hub: HubDouble) -> None:
    with over(hub, Weather()) as (cut_off, line):
        line.silence(0.5)
        hub.open_round()
        assert cut_off.task(wait=1)
        assert hub.count("GET", "/task") == 1


# -- names -----------------------------------------------------------------------------------------------------------


def test_a_name_service_that_blinks_delays_and_ends_nothing(
    agent: Agent, hub: HubDouble, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hub.open_round()
    real, asked = socket.getaddrinfo, []

    def blinking(*arguments: object, **more: object) -> object:
        asked.append(arguments)
        # Each look for a task is preceded by one at the hub's audit.
        if len(asked) <= 6:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return real(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", blinking)
    outcome(Service(agent).once(timeout=None))
    told = [message for message in caplog.messages if "next try" in message]
    assert len(told) == 3
    assert all("is not known here" in message and "(hub_unreachable)" in message for message in told)
