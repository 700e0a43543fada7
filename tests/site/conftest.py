"""Real processes for the tests of the site."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from hospintel_site.ports import any_free

ROOT = Path(__file__).resolve().parents[2]
Start = Callable[..., "Process"]


class Process:
    """A server process and where it listens."""

    def __init__(self, argv: list[str], port: int, environment: dict[str, str]) -> None:
        self.port = port
        self.popen = subprocess.Popen(
            [sys.executable, *argv],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def wait_until_listening(self, seconds: float = 120) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert self.popen.poll() is None, self.popen.communicate()[0]
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise AssertionError("nothing listens")

    def status(self, field: str) -> int:
        """One figure of /proc/<pid>/status, in bytes."""
        for line in Path(f"/proc/{self.popen.pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
        raise AssertionError(field)

    def spooled(self) -> int:
        """Bytes in temporary files that the process holds open."""
        total = 0
        for link in Path(f"/proc/{self.popen.pid}/fd").iterdir():
            try:
                if str(link.readlink()).endswith("(deleted)"):
                    total += link.stat().st_size
            except OSError:
                continue
        return total

    def stop(self) -> None:
        self.popen.terminate()
        try:
            self.popen.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.communicate()
            raise


@pytest.fixture(scope="module")
def start_process() -> Iterator[Start]:
    """Start `python ARGV` with a free port for the word PORT; it ends with the module."""
    with ExitStack() as stack:

        def start(argv: list[str], **environment: str) -> Process:
            port = any_free("127.0.0.1")
            process = Process([part.replace("PORT", str(port)) for part in argv], port, environment)
            stack.callback(process.stop)
            process.wait_until_listening()
            return process

        yield start


@pytest.fixture(scope="module")
def echo(start_process: Start) -> "Process":
    return start_process(["tests/site/echo_server.py", "PORT"])
