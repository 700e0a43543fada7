"""The command line as people see it: transcripts of real processes (transcripts/*.txt, see transcript.py)."""

import os
import pty
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from agent_program import Command
from hub_double import HubDouble
from transcript import play

from client_agent.config import Home

TRANSCRIPTS = sorted((Path(__file__).parent / "transcripts").glob("*.txt"))


def _arrange(hub: HubDouble, words: list[str]) -> None:
    match words:
        case ["round", number]:
            hub.open_round(int(number))
        case ["evaluation", number]:
            hub.open_round(int(number), kind="evaluate")
        case ["refuse", code]:
            hub.verdicts.append(code)
        case ["code", code]:
            hub.codes.add(code)
        case ["revoke"]:
            hub.revoked.update(hub.agents)
        case ["forget"]:
            hub.agents.clear()
        case ["stop"]:
            hub.stop()
        case _:
            raise AssertionError(words)


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_the_command_line_behaves_as_its_transcript(
    path: Path, command: Command, hub: HubDouble, scans: Path, tmp_path: Path
) -> None:
    names = {"HUB": hub.url, "TMP": str(tmp_path), "SCANS": str(scans)}
    play(path, command, names, lambda words: _arrange(hub, words))


def test_the_code_can_be_read_from_stdin(command: Command, hub: HubDouble, tmp_path: Path) -> None:
    arguments = ["enrol", "--hub", hub.url, "--code", "-", "--home", str(tmp_path / "home")]
    process = command.start(*arguments, stdin=subprocess.PIPE)
    out, err = process.communicate("one-time-code\n", timeout=120)
    assert process.returncode == 0, err
    assert "Enrolled North Clinic" in out
    again = command.start(*arguments, stdin=subprocess.DEVNULL)
    assert "the code is empty" in again.communicate(timeout=120)[1]
    assert again.returncode == 2


def test_a_terminal_is_asked_for_the_code_and_does_not_show_it(
    command: Command, hub: HubDouble, tmp_path: Path
) -> None:
    ours, theirs = pty.openpty()
    process = command.start(
        *["enrol", "--hub", hub.url, "--code", "-", "--home", str(tmp_path / "home")],
        stdin=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown = bytearray()
    with suppress(OSError):  # Linux answers EIO when the other end is closed.
        while piece := os.read(ours, 65536):
            if b"one-time code: " in piece:
                os.write(ours, b"one-time-code\n")
            shown += piece
    os.close(ours)
    assert process.wait(timeout=120) == 0
    assert b"one-time-code" not in shown
    assert hub.codes == set()


def test_a_terminal_gets_progress_bars(command: Command, hub: HubDouble, home: Home) -> None:
    hub.open_round()
    ours, theirs = pty.openpty()
    process = command.start("once", "--home", str(home.folder), stderr=theirs)
    os.close(theirs)
    shown = bytearray()
    with suppress(OSError):  # Linux answers EIO when the other end is closed.
        while piece := os.read(ours, 65536):
            shown += piece
    os.close(ours)
    assert process.wait(timeout=120) == 0
    text = shown.decode()
    for stage in ("features", "round 1: training", "round 1: upload"):
        assert f"\x1b[2K{stage} " in text
    assert " round 1: accepted\r\n" in text
    assert " INFO " not in text


def test_no_expected_failure_shows_a_traceback() -> None:
    assert not any("Traceback" in path.read_text() for path in TRANSCRIPTS)
