"""The agent keeps what the hub signed of its audit, and says aloud where the hub no longer agrees with it."""

import json
import logging

import pytest
from agent_program import Command
from hub_double import HubDouble
from hub_http import answer
from stepped_clock import SteppedClock

from client_agent.agent import Agent
from client_agent.errors import NoTaskError
from client_agent.poll import Service, outcome
from client_agent.witness import EVERY_SECONDS, kept_checkpoint
from hospintel_core.checkpoint import Note


@pytest.fixture
def polls(agent: Agent, clock: SteppedClock):
    """Let the agent poll once, more than a minute after the last time."""
    service = Service(agent)

    def poll() -> None:
        clock.advance(EVERY_SECONDS + 1)
        with pytest.raises(NoTaskError):
            service.once(timeout=0)

    return poll


def contradicted(agent: Agent) -> list[int]:
    path = agent.home.contradicted
    return [Note.from_line(line).seq for line in path.read_text().splitlines()] if path.exists() else []


def test_the_newest_checkpoint_is_kept_and_shown_again(agent: Agent, hub: HubDouble, polls) -> None:
    for seq in (3, 9):
        note = hub.sign_checkpoint(seq)
        polls()
        assert kept_checkpoint(agent.home) == note
    assert contradicted(agent) == []
    assert agent.home.checkpoint.stat().st_mode & 0o777 == 0o600
    polls()
    assert hub.count("POST", "/checkpoint") == 3


@pytest.mark.parametrize(("seq", "code"), [(5, "audit_behind"), (9, "audit_forked"), (12, "audit_forked")])
def test_a_hub_whose_audit_is_another_is_named_once_and_the_proof_stays(
    agent: Agent, hub: HubDouble, polls, caplog: pytest.LogCaptureFixture, seq: int, code: str
) -> None:
    hub.sign_checkpoint(9)
    polls()
    hub.notes.clear()
    newest = hub.sign_checkpoint(seq, "cd" * 32)
    polls()
    polls()
    (said,) = [record for record in caplog.records if code in record.getMessage()]
    assert said.levelno == logging.ERROR
    assert "entry 9" in said.getMessage()
    assert contradicted(agent) == [9]
    assert kept_checkpoint(agent.home) == newest
    # It trains all the same: people know whether the hub was restored.
    hub.open_round()
    outcome(Service(agent).once(timeout=60))


def test_two_signatures_over_one_entry_convict_a_hub_that_says_all_is_well(agent: Agent, hub: HubDouble, polls) -> None:
    hub.sign_checkpoint(9)
    polls()
    hub.sign_checkpoint(9, "cd" * 32)
    polls()
    assert contradicted(agent) == [9]


def test_what_another_key_signed_is_not_kept(agent: Agent, hub: HubDouble, polls) -> None:
    kept = hub.sign_checkpoint(9)
    polls()
    hub.notes.append(HubDouble().sign_checkpoint(12))
    polls()
    assert kept_checkpoint(agent.home) == kept


def test_a_hub_that_cannot_be_asked_still_has_tasks_done(
    agent: Agent, hub: HubDouble, caplog: pytest.LogCaptureFixture
) -> None:
    hub.sign_checkpoint(9)
    hub.inject("POST", "/checkpoint", answer(403, {"code": "odd", "detail": "No."}))
    hub.open_round()
    outcome(Service(agent).once(timeout=60))
    assert "audit was not compared" in caplog.text


def test_status_ends_with_its_own_code_until_the_proof_is_moved_away(
    agent: Agent, hub: HubDouble, polls, command: Command
) -> None:
    hub.sign_checkpoint(9)
    polls()
    shown = command.run("status", "--home", str(agent.home.folder))
    assert (shown.returncode, "seen up to entry 9" in shown.stdout) == (0, True)
    hub.notes.clear()
    hub.sign_checkpoint(5)
    polls()
    shown = command.run("status", "--home", str(agent.home.folder))
    assert shown.returncode == 7
    assert "audit_forked" in shown.stderr
    assert "contradicted.jsonl" in shown.stderr
    # The line is what the hub's own check takes: manage.py verify_audit --checkpoint.
    assert json.loads(agent.home.contradicted.read_text())["kind"] == "checkpoint"
    agent.home.contradicted.unlink()
    assert command.run("status", "--home", str(agent.home.folder)).returncode == 0
