"""The processes of a demo: the hub and one agent for each hospital, all of which end with it."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

from hospintel_site.demo.options import Options

START_SECONDS = 90
STOP_SECONDS = 30


class DemoError(Exception):
    """Something that the demo needs did not happen; the text says what and where to look."""


class Processes:
    """Starts and stops what the demo runs; each process has a log of its own in the demo's folder."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.address = f"http://127.0.0.1:{options.port}"
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []

    def _start(self, name: str, arguments: list[str]) -> subprocess.Popen[bytes]:
        log = (self.options.folder / f"{name}.log").open("wb")
        # A session of its own: Ctrl-C reaches the demo alone, which then stops the others in order.
        process = subprocess.Popen(  # noqa: S603 - our own programs
            arguments, cwd=self.options.root, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
        )
        log.close()
        self._running.append((name, process))
        return process

    def start_hub(self) -> None:
        """Start the hub as a user would and wait until it answers.

        Raises:
            DemoError: it ended, or did not answer in time.
        """
        hub = self._start("hub", [sys.executable, "manage.py", "up", "--port", str(self.options.port)])
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if hub.poll() is not None:
                raise DemoError(f"The hub ended with status {hub.returncode}:\n{self.tail('hub')}")
            with suppress(OSError), urllib.request.urlopen(f"{self.address}/healthz", timeout=2) as answer:  # noqa: S310 - loopback
                if json.load(answer) == {"status": "ok"}:
                    return
            time.sleep(0.1)
        raise DemoError(f"The hub did not answer within {START_SECONDS} s:\n{self.tail('hub')}")

    def enrol(self, number: int, code: str) -> None:
        """Enrol a hospital's agent over HTTP.

        Raises:
            DemoError: the agent's own words, where it could not.
        """
        command = self._agent(number, "enrol", "--hub", self.address, "--code", code)
        done = subprocess.run(command, cwd=self.options.root, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            raise DemoError(f"The agent of hospital {number} could not enrol:\n{done.stdout}{done.stderr}")

    def start_agent(self, number: int, scans: Path) -> None:
        """Start a hospital's agent."""
        self._start(f"hospital-{number}/agent", self._agent(number, "run", "--data", str(scans)))

    def _agent(self, number: int, command: str, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "client_agent", command, "--home", str(self.home(number)), *arguments]

    def home(self, number: int) -> Path:
        """Return the folder in which a hospital's agent keeps its key and journal."""
        return self.options.folder / f"hospital-{number}" / "agent"

    def check(self) -> None:
        """Check that everything still runs.

        Raises:
            DemoError: a process has ended.
        """
        for name, process in self._running:
            if process.poll() is not None:
                raise DemoError(f"{name} ended with status {process.returncode}:\n{self.tail(name)}")

    def tail(self, name: str, lines: int = 15) -> str:
        """Return the last lines of a process's log."""
        log = self.options.folder / f"{name}.log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self) -> None:
        """Stop the agents, then the hub; what does not end in time is killed."""
        for _, process in reversed(self._running):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for _, process in reversed(self._running):
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self._running.clear()
