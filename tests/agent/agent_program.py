"""The agent in this process, as a program, and what it keeps."""

import json
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from stepped_clock import SteppedClock

from client_agent.agent import Agent, open_agent
from client_agent.clock import Stop
from client_agent.config import Home
from client_agent.console import LineDisplay
from client_agent.journal import Journal, Row

# Only ever reached by a test that fails, and by a machine many times slower than ours.
PATIENCE_SECONDS = 120.0


def opened(home: Home, *, stop: Stop, clock: SteppedClock, data: Path | None = None) -> AbstractContextManager[Agent]:
    display = LineDisplay(logging.getLogger("client_agent"))
    return open_agent(home, data=data, weights=None, display=display, stop=stop, clock=clock)


@dataclass
class Command:
    """`hospintel-agent` as real processes."""

    folder: Path
    env: dict[str, str]
    program: list[str] = field(default_factory=lambda: [sys.executable, "-m"])
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *arguments: str, **popen: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(  # type: ignore[call-overload]
            [*self.program, "client_agent", *arguments],
            cwd=self.folder,
            env=self.env,
            text=True,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | popen,
        )
        self.started.append(process)
        return process

    def run(self, *arguments: str, timeout: float = PATIENCE_SECONDS) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=timeout)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def kill(self, process: subprocess.Popen[str]) -> str:
        """End it as a power failure would; returns its stderr."""
        process.send_signal(signal.SIGKILL)
        return process.communicate(timeout=PATIENCE_SECONDS)[1]


def rows(home: Home) -> list[Row]:
    with Journal(home.journal) as journal:
        return journal.latest(100)


def wait_until(condition: Callable[[], bool], timeout: float = PATIENCE_SECONDS) -> None:
    until = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.01)


def config_of(home: Home) -> dict[str, str]:
    found: dict[str, str] = json.loads(home.config.read_text())
    return found
