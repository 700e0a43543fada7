"""A hub that replaces its identity is followed where the pinned identity leads to the new one, and nowhere else."""

import json
from collections.abc import Callable

import pytest
from agent_program import Command, config_of, opened
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hub_double import HubDouble
from hub_http import answer
from stepped_clock import SteppedClock

from client_agent.agent import Agent
from client_agent.clock import Stop
from client_agent.config import Home, load_config
from client_agent.errors import AgentError, HubUnreachableError, UntrustedError
from client_agent.poll import Service, outcome
from hospintel_core import signing
from hospintel_core.errors import SignatureError


def test_a_new_identity_is_followed_pinned_logged_and_shown(
    agent: Agent, hub: HubDouble, command: Command, caplog: pytest.LogCaptureFixture
) -> None:
    first = signing.fingerprint(hub.identity.public_key())
    hub.rotate_identity()
    hub.rotate_identity()
    newest = signing.fingerprint(hub.identity.public_key())
    hub.open_round()
    outcome(Service(agent).once(timeout=60))
    assert signing.fingerprint(load_config(agent.home).identity) == newest
    assert f"{newest} follows {first}" in caplog.text
    assert agent.home.config.stat().st_mode & 0o777 == 0o600
    shown = command.run("status", "--home", str(agent.home.folder)).stdout
    assert f"hub's key   {newest}\n            follows {first}, pinned at enrolment\n" in shown


def test_the_chain_is_asked_for_once_a_rotation(agent: Agent, hub: HubDouble, clock: SteppedClock) -> None:
    service = Service(agent)
    for number in (1, 2, 3):
        hub.open_round(number)
        outcome(service.once(timeout=60))
        if number == 1:
            assert hub.count("GET", "/identity") == 0
            hub.rotate_identity()
    assert hub.count("GET", "/identity") == 1


def test_a_restarted_agent_goes_on_from_the_identity_that_it_followed_to(
    home: Home, hub: HubDouble, stop: Stop, clock: SteppedClock
) -> None:
    first = config_of(home)["hub_identity"]
    for number in (1, 2):
        hub.rotate_identity()
        hub.open_round(number)
        with opened(home, stop=stop, clock=clock) as agent:
            outcome(Service(agent).once(timeout=60))
    assert config_of(home)["first_identity"] == first


def test_the_identity_before_is_no_longer_obeyed(agent: Agent, hub: HubDouble, clock: SteppedClock) -> None:
    old = hub.identity
    hub.rotate_identity()
    hub.open_round(1)
    service = Service(agent)
    outcome(service.once(timeout=60))
    hub.identity = old
    clock.advance(1)
    hub.open_round(2)
    with pytest.raises(SignatureError, match="pinned"):
        service.once(timeout=60)


def _signed_by_a_stranger(hub: HubDouble) -> None:
    hub.rotate_identity(Ed25519PrivateKey.generate())


def _from_another_hub(hub: HubDouble) -> None:
    hub.identity, hub.chain = Ed25519PrivateKey.generate(), HubDouble().chain


def _from_a_hub_without_the_call(hub: HubDouble) -> None:
    hub.rotate_identity()
    hub.inject("GET", "/identity", answer(404, {"code": "not_found", "detail": "There is nothing here."}))


@pytest.mark.parametrize("arrange", [_signed_by_a_stranger, _from_another_hub, _from_a_hub_without_the_call])
def test_an_identity_to_which_the_pinned_one_does_not_lead_is_refused_and_not_pinned(
    agent: Agent, hub: HubDouble, arrange: Callable[[HubDouble], None]
) -> None:
    before = agent.home.config.read_bytes()
    arrange(hub)
    hub.open_round()
    with pytest.raises(SignatureError, match="pinned"):
        Service(agent).once(timeout=60)
    assert agent.home.config.read_bytes() == before


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (200, {"chain": {}}, UntrustedError),
        (200, {"chain": [{"kid": "00"}]}, UntrustedError),
        (200, {}, UntrustedError),
        (503, {}, HubUnreachableError),
    ],
)
def test_a_chain_that_does_not_come_as_it_should_changes_nothing(
    agent: Agent, hub: HubDouble, status: int, body: dict[str, object], error: type[AgentError]
) -> None:
    before = agent.home.config.read_bytes()
    hub.rotate_identity()
    hub.open_round()
    hub.inject("GET", "/identity", answer(status, body))
    service = Service(agent)
    with pytest.raises(error):
        service.once(timeout=0)
    assert agent.home.config.read_bytes() == before
    outcome(service.once(timeout=60))


def test_a_config_of_an_agent_that_never_followed_is_still_read(home: Home) -> None:
    values = config_of(home)
    del values["first_identity"]
    home.config.write_text(json.dumps(values))
    assert load_config(home).identity_at_enrolment == load_config(home).identity
