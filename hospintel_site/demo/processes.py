"""The processes of a demo: the hub and one agent for each hospital, all of which end with it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from hospintel_site.demo.errors import DemoError
from hospintel_site.demo.signals import Signals
from hospintel_site.supervisor import answers

ROOT = Path(__file__).resolve().parent.parent.parent
HUB = "hub"
AGENT = "client_agent"
LOOPBACK = "127.0.0.1"
START_SECONDS = 90
STOP_SECONDS = 30
LOOK_SECONDS = 0.05


class Processes:
    """Starts and stops what the demo runs; each process has a log of its own in the folder.

    Args:
        folder: for the logs and the agents' homes.
        port: where the hub listens.
        environment: of all processes.
        signals: counted while processes are started and stopped.
    """

    def __init__(self, folder: Path, port: int, environment: Mapping[str, str], signals: Signals) -> None:
        self.folder = folder
        self.port = port
        self._tls = "HOSPINTEL_TLS_CERT" in environment
        self.address = f"{'https' if self._tls else 'http'}://{LOOPBACK}:{port}"
        self._environment = dict(environment)
        self._signals = signals
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def _start(self, name: str, arguments: list[str]) -> None:
        # Held: a process that is running and not yet in the list would stay behind.
        with self._signals.held(), self._log(name).open("ab") as log:
            self._running[name] = subprocess.Popen(  # noqa: S603 - our own programs
                # Through this module they end even when the demo is killed.
                [sys.executable, "-m", "hospintel_site.lifetime", sys.executable, *arguments],
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A session of its own: Ctrl-C reaches the demo alone, which then stops the others in order.
                start_new_session=True,
            )

    def start_hub(self) -> None:
        """Start the hub as a user would and wait until it answers.

        Raises:
            DemoError: it ended, or did not answer in time.
        """
        self._start(HUB, ["manage.py", "up", "--port", str(self.port)])
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            self._check(HUB)
            if answers(LOOPBACK, self.port, host=LOOPBACK, tls=self._tls):
                return
            time.sleep(LOOK_SECONDS)
        raise DemoError(f"The hub did not answer within {START_SECONDS} s:\n{self.tail(HUB)}")

    def enrol(self, name: str, code: str, *arguments: str) -> None:
        """Enrol an agent over HTTP, with further `arguments` of its command line.

        Raises:
            DemoError: the agent's own words, where it could not.
        """
        command = [sys.executable, *self._agent(name, "enrol", "--hub", self.address, *arguments)]
        # Not on the command line: every user of the machine sees that.
        environment = {**self._environment, "HOSPINTEL_AGENT_CODE": code}
        done = subprocess.run(  # noqa: S603 - our own program
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise DemoError(f"The agent of {name} could not enrol:\n{done.stdout}{done.stderr}")

    def start_agent(self, name: str, scans: Path, *, program: str = AGENT) -> None:
        """Start an agent, or another program with the same command line."""
        self._start(name, self._agent(name, "run", "--data", str(scans), program=program))

    def _agent(self, name: str, command: str, *arguments: str, program: str = AGENT) -> list[str]:
        return ["-m", program, command, "--home", str(self.home(name)), *arguments]

    def home(self, name: str) -> Path:
        """Return the folder in which an agent keeps its key and journal."""
        return self.folder / name / "agent"

    def _log(self, name: str) -> Path:
        path = self.folder / f"{name}.log" if name == HUB else self.folder / name / "agent.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def check(self) -> None:
        """Check that everything still runs.

        Raises:
            DemoError: a process has ended.
        """
        for name in self._running:
            self._check(name)

    def _check(self, name: str) -> None:
        status = self._running[name].poll()
        if status is not None:
            raise DemoError(f"{name} ended with status {status}:\n{self.tail(name)}")

    def process(self, name: str) -> subprocess.Popen[bytes]:
        """Return a process that was started."""
        return self._running[name]

    def tail(self, name: str, lines: int = 15) -> str:
        """Return the last lines of a process's log."""
        return "\n".join(self._log(name).read_text(errors="replace").splitlines()[-lines:])

    def stop(self) -> None:
        """Stop the agents, then the hub; what does not end in time, or at once after another signal, is killed."""
        self._signals.only_count()
        asked = self._signals.count
        for process in reversed(self._running.values()):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while any(process.poll() is None for process in self._running.values()):
            if time.monotonic() > deadline or self._signals.count > asked:
                break
            time.sleep(LOOK_SECONDS)
        for process in self._running.values():
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self._running.clear()
