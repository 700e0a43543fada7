"""How the demo starts its agents."""

import os
import socket
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from hospintel_site.demo.errors import DemoError
from hospintel_site.demo.processes import Processes
from hospintel_site.demo.signals import Signals

CODE = "a-code-that-nobody-else-shall-see"


def command_lines() -> list[bytes]:
    """What every user of the machine can read of its processes."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found.append(path.read_bytes())
    return found


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="reads /proc")
def test_an_enrolment_code_is_not_seen_in_the_list_of_processes(tmp_path: Path) -> None:
    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def look_and_hang_up() -> None:
            connection, _ = server.accept()
            with connection:
                seen.extend(command_lines())

        looking = threading.Thread(target=look_and_hang_up)
        looking.start()
        processes = Processes(tmp_path, server.getsockname()[1], os.environ, Signals())
        with pytest.raises(DemoError):
            processes.enrol("north", CODE)
        looking.join(timeout=120)
    (line,) = [line for line in seen if str(processes.home("north")).encode() in line]
    assert b"enrol" in line
    assert not [line for line in seen if CODE.encode() in line]
