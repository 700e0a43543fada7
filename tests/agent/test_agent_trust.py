"""What the agent must not believe."""

import numpy as np
import pytest
from agent_program import opened, rows
from hub_double import HubDouble
from hub_http import answer, redirect
from stepped_clock import SteppedClock

from client_agent.agent import Agent
from client_agent.clock import Stop, StopRequested
from client_agent.config import Home
from client_agent.errors import (
    UntrustedError,
)
from client_agent.poll import Service, outcome
from hospintel_core.errors import ArchitectureError, CodecError, CoreError, SignatureError
from hospintel_core.plan import sign_manifest


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"architecture": "vgg99-head1"}, ArchitectureError),
        ({"codec": "float8"}, CodecError),
        ({"schema": "00" * 32}, UntrustedError),
        ({"classes": ("glioma", "meningioma", "pituitary", "notumor")}, UntrustedError),
        ({"federation": "other"}, UntrustedError),
        ({"rsa_public_key": "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"}, UntrustedError),
    ],
)
def test_a_task_that_this_agent_does_not_understand_is_refused_before_any_work(
    agent: Agent, hub: HubDouble, changes: dict[str, object], error: type[Exception]
) -> None:
    hub.open_round(**changes)
    with pytest.raises(error):
        Service(agent).once(timeout=60)
    assert rows(agent.home) == []
    assert hub.count("GET", "/models/") == 0


def test_a_task_signed_by_another_hub_is_refused(agent: Agent, hub: HubDouble) -> None:
    round_ = hub.open_round()
    round_.signed = sign_manifest(round_.manifest, HubDouble().identity)
    with pytest.raises(SignatureError, match="pinned"):
        Service(agent).once(timeout=60)


def test_a_task_that_was_altered_on_the_way_is_refused(agent: Agent, hub: HubDouble) -> None:
    round_ = hub.open_round()
    wire = round_.signed.to_wire() | {"manifest": round_.signed.body.decode().replace('"epochs":2', '"epochs":3')}
    hub.inject("GET", "/task", answer(200, wire))
    with pytest.raises(SignatureError):
        Service(agent).once(timeout=60)


def test_a_task_from_the_far_future_is_refused_with_a_hint_at_the_clock(
    agent: Agent, hub: HubDouble, clock: SteppedClock
) -> None:
    hub.open_round(issued_ms=clock.now_ms() + 3_600_000)
    with pytest.raises(UntrustedError) as caught:
        Service(agent).once(timeout=60)
    assert caught.value.code == "manifest_future"
    assert "NTP" in caught.value.hint


def test_an_older_task_than_the_newest_obeyed_one_is_refused_as_replayed(
    agent: Agent, hub: HubDouble, clock: SteppedClock
) -> None:
    old = hub.open_round(1)
    hub.close(old)
    clock.advance(1)
    hub.open_round(2)
    service = Service(agent)
    outcome(service.once(timeout=60))
    hub.inject("GET", "/task", answer(200, old.signed.to_wire()))
    with pytest.raises(UntrustedError) as caught:
        service.once(timeout=60)
    assert caught.value.code == "manifest_replayed"
    assert [row.number for row in rows(agent.home)] == [2]
    assert old.updates == []


def test_what_was_obeyed_is_known_after_a_restart(home: Home, hub: HubDouble, clock: SteppedClock, stop: Stop) -> None:
    old = hub.open_round(1)
    hub.close(old)
    clock.advance(1)
    newer = hub.open_round(2)
    with opened(home, stop=stop, clock=clock) as agent:
        outcome(Service(agent).once(timeout=60))
    hub.inject("GET", "/task", answer(200, old.signed.to_wire()))
    with opened(home, stop=stop, clock=clock) as agent, pytest.raises(UntrustedError):
        Service(agent).once(timeout=60)
    hub.inject("GET", "/task", answer(200, newer.signed.to_wire()))
    newer.updates.clear()
    with opened(home, stop=stop, clock=clock) as agent:
        outcome(Service(agent).once(timeout=60))
    assert len(newer.updates) == 1


def test_the_service_outlives_tasks_that_it_refuses(
    agent: Agent, hub: HubDouble, clock: SteppedClock, stop: Stop, caplog: pytest.LogCaptureFixture
) -> None:
    bad = hub.open_round(1, codec="float8")

    def mend() -> None:
        hub.close(bad)
        hub.open_round(2)

    clock.at(300, mend)
    hub.inject("PUT", "/update", lambda _handler: bool(clock.at(0, stop.request)))
    with pytest.raises(StopRequested):
        Service(agent).run()
    assert "unknown_codec" in caplog.text
    assert len(hub.rounds[1].updates) == 1


def test_a_model_with_another_digest_is_refused_and_not_kept(agent: Agent, hub: HubDouble) -> None:
    hub.open_round()
    data = bytearray(hub.models[hub.current])
    data[-1] ^= 1
    hub.models[hub.current] = bytes(data)
    with pytest.raises(UntrustedError) as caught:
        Service(agent).once(timeout=60)
    assert caught.value.code == "model_digest"
    assert list(agent.home.models.iterdir()) == []


def test_a_signed_model_of_another_shape_is_refused(agent: Agent, hub: HubDouble) -> None:
    hub.open_round(model=hub.add_model({"head_dense/kernel": np.zeros((2, 2), np.float32)}))
    with pytest.raises(CoreError):
        Service(agent).once(timeout=60)


def test_a_model_that_never_ends_is_cut_off(agent: Agent, hub: HubDouble) -> None:
    hub.open_round()
    hub.models[hub.current] += bytes(200_000)
    with pytest.raises(UntrustedError) as caught:
        Service(agent).once(timeout=60)
    assert caught.value.code == "model_too_large"


def test_a_redirect_is_never_followed(agent: Agent, hub: HubDouble) -> None:
    hub.inject("GET", "/task", redirect("https://login.example.org/"))
    with pytest.raises(UntrustedError) as caught:
        Service(agent).once(timeout=60)
    assert caught.value.code == "redirect_refused"
    assert "login.example.org" in caught.value.detail


def test_a_damaged_delta_is_trained_again(agent: Agent, hub: HubDouble) -> None:
    round_ = hub.open_round()

    def damage(_handler: object) -> bool:
        (path,) = agent.home.rounds.glob("*.delta")
        path.write_bytes(path.read_bytes()[:-1])
        return False

    hub.inject("GET", "/update", damage)
    outcome(Service(agent).once(timeout=60))
    assert len(round_.updates) == 1


def test_a_damaged_seal_is_made_again(agent: Agent, hub: HubDouble) -> None:
    round_ = hub.open_round()

    def damage(handler) -> bool:  # type: ignore[no-untyped-def]
        (path,) = agent.home.rounds.glob("*.sealed")
        path.write_bytes(b"x")
        handler.cut()
        return True

    hub.inject("PUT", "/update", damage)
    outcome(Service(agent).once(timeout=60))
    assert round_.updates[0].header.attempt == 2
