"""A hub and agents as real processes, in a temporary folder of their own."""

import os
import signal
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from pprint import pformat
from typing import Any

import office
from office import Office

from hospintel_core.failpoints import FOLDER
from hospintel_site import ports
from hospintel_site.demo.processes import HUB, Processes
from hospintel_site.demo.signals import Signals
from tools.processes import descendants
from tools.services import new_database, new_queue

# Only ever reached by a test that fails, and by a machine many times slower than ours.
PATIENCE_SECONDS = 240
LOOK_SECONDS = 0.05


def eventually(condition: Callable[[], Any], what: str, logs: Callable[[], str] = str) -> Any:
    """Wait for the condition and return what it gave."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, f"in vain: {what}\n{logs()}"
        time.sleep(LOOK_SECONDS)
    return found


def environment(folder: Path, **more: str) -> dict[str, str]:
    """The caller's, without what would point the hub at another database, keys or a test's settings."""
    outside = ("HOSPINTEL_", "DATABASE_URL", "REDIS_URL", "PYTEST_", "DJANGO_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(outside)}
    return {
        **kept,
        "DJANGO_SETTINGS_MODULE": "hospintel_site.settings",
        "HOSPINTEL_VAR": str(folder / "var"),
        "HOSPINTEL_REQUIRE_ADMIN_OTP": "0",
        **more,
    }


def services() -> dict[str, str]:
    """Settings for an empty database and a queue of one's own, where the tests run with PostgreSQL and Redis."""
    database, queue = os.environ.get("DATABASE_URL"), os.environ.get("REDIS_URL")
    if not database or not queue:
        return {}
    return {"DATABASE_URL": new_database(database), "REDIS_URL": new_queue(queue)}


class Hub:
    """`manage.py up` in a folder, and its administrator, whose settings `desk` may change."""

    def __init__(
        self, folder: Path, *, architecture: str = "pixels-head16", desk: Mapping[str, str] | None = None, **more: str
    ) -> None:
        self.folder = folder
        self.variables = {**services(), **environment(folder, **more)}
        self.processes = Processes(folder, ports.any_free("127.0.0.1"), self.variables, Signals())
        # Whoever tests asks there what has become of it: nothing happens to them at a failpoint.
        self.ask = Office({**{name: value for name, value in self.variables.items() if name != FOLDER}, **(desk or {})})
        self.ask(office.prepare, architecture)
        self.processes.start_hub()

    def close(self) -> None:
        """End everything that was started."""
        self.processes.stop()
        self.ask.close()

    def stop(self) -> None:
        """As Ctrl-C does."""
        up = self.processes.process(HUB)
        up.send_signal(signal.SIGINT)
        assert up.wait(PATIENCE_SECONDS) == 0

    def power_off(self) -> None:
        """End all processes of the hub at once, without a chance to clean up."""
        up = self.processes.process(HUB)
        for pid in [up.pid, *descendants(up.pid)]:
            os.kill(pid, signal.SIGKILL)
        up.wait(PATIENCE_SECONDS)

    def start(self) -> None:
        """Start it again."""
        self.processes.start_hub()

    def child(self, command: str) -> int:
        """Pid of the process of the hub whose command line ends so."""
        children = descendants(self.processes.process(HUB).pid)
        return next(pid for pid in children if _command(pid).endswith(command))

    def worker(self) -> list[int]:
        """Pids of the default worker: the main process first, then the processes that do its tasks."""
        main = self.child("hospintel_site.worker default")
        return [main, *descendants(main)]

    def logs(self) -> str:
        """The end of every log."""
        found = sorted(self.folder.rglob("*.log"), key=lambda path: path.stat().st_mtime)
        return "\n".join(f"--- {path}\n{path.read_text(errors='replace')[-3000:]}" for path in found[-5:])


class Federation:
    """A federation with its hospitals and their agents; no other test knows it."""

    def __init__(
        self, hub: Hub, slug: str, scans: Sequence[Path], *, enrol: Sequence[str] = (), **limits: object
    ) -> None:
        self.hub = hub
        self.slug = slug
        self.hospitals = [f"{slug} {letter}" for letter in "abcdef"[: len(scans)]]
        self._scans = dict(zip(self.hospitals, scans, strict=True))
        hub.ask(office.create_federation, slug, **{"min_updates": len(scans), **limits})
        codes = hub.ask(office.issue_codes, slug, self.hospitals)
        for hospital, code in zip(self.hospitals, codes, strict=True):
            hub.processes.enrol(hospital, code, *enrol)
            self.start_agent(hospital)

    def start_agent(self, hospital: str) -> None:
        """Start, or start again, the hospital's agent."""
        self.hub.processes.start_agent(hospital, self._scans[hospital])

    def signal(self, hospital: str, number: signal.Signals) -> None:
        """Send the hospital's agent a signal."""
        self.hub.processes.process(hospital).send_signal(number)

    def wait(self, hospital: str) -> int:
        """Wait for the end of the hospital's agent; returns its exit status."""
        return self.hub.processes.process(hospital).wait(PATIENCE_SECONDS)

    def until_online(self) -> None:
        """Wait until all agents have asked for a task."""
        self.until(lambda: self.hub.ask(office.online, self.slug) == len(self.hospitals), "all agents are online")

    def run(self, rounds: int, **plan: object) -> str:
        """Start a run."""
        return self.hub.ask(office.start_run, self.slug, rounds, **plan)

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        """Wait for the condition; the failure shows the logs."""
        return eventually(condition, what, self.hub.logs)

    def until_run_is(self, state: str, run_id: str) -> list[dict[str, Any]]:
        """Wait for the state of the run; returns its rounds."""
        eventually(
            lambda: self.hub.ask(office.run_state, run_id) == state,
            f"the run becomes {state}",
            lambda: f"{self.hub.logs()}\n{pformat(self.rounds(run_id))}",
        )
        return self.rounds(run_id)

    def until_round(self, number: int, state: str, run_id: str) -> None:
        """Wait until the run's round of this number is in a state."""
        self.until(
            lambda: any(r["number"] == number and r["state"] == state for r in self.rounds(run_id)),
            f"round {number} is {state}",
        )

    def rounds(self, run_id: str) -> list[dict[str, Any]]:
        """What became of each round, oldest first."""
        return self.hub.ask(office.rounds, run_id)

    def log(self, hospital: str) -> str:
        """What the hospital's agent has logged, over all its starts."""
        return self.hub.processes.tail(hospital, lines=10_000)

    def journal(self, hospital: str) -> list[dict[str, Any]]:
        """The rows of the agent's own journal, oldest first."""
        path = self.hub.processes.home(hospital) / "journal.sqlite3"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as database:
            database.row_factory = sqlite3.Row
            return [dict(row) for row in database.execute("SELECT * FROM rounds ORDER BY started_ms")]

    def close(self) -> None:
        """End the agents that still run."""
        for hospital in self.hospitals:
            process = self.hub.processes.process(hospital)
            if process.poll() is None:
                process.kill()
                process.wait()


Found = Callable[..., Federation]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def still_running(folder: Path) -> list[str]:
    """Command lines of all processes whose environment or command line names the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            text = (process / "cmdline").read_bytes() + b"\0" + (process / "environ").read_bytes()
            state = (process / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if str(folder).encode() in text and state != "Z" and int(process.name) != os.getpid():
            found.append(_command(int(process.name)))
    return found
