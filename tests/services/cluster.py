"""A grown hub: two of each process, as if on two machines that share a database, a broker, keys and model storage."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import office
from balancer import Balancer
from harness import PATIENCE_SECONDS, Hub, environment, eventually
from office import Office

from hospintel_site import ports
from hospintel_site.demo.processes import ROOT, Processes
from hospintel_site.demo.signals import Signals
from tools.services import Postgres, Redis

KINDS = ("web", "tick", "default", "training")
MACHINES = ("1", "2")


class Cluster(Hub):
    """Agents come through a balancer; `database` and `queue` are this hub's own, to be stopped and started again."""

    def __init__(self, folder: Path, database: Postgres, queue: Redis) -> None:
        self.folder, self.database, self.queue = folder, database, queue
        self.ports = {machine: ports.any_free("127.0.0.1") for machine in MACHINES}
        self.balancer = Balancer(list(self.ports.values()))
        self.environments = {machine: self._environment(machine) for machine in MACHINES}
        self.processes = Processes(folder, self.balancer.port, self.environments["1"], Signals())
        self.ask = Office(self.environments["1"])
        self.ask(office.prepare, "pixels-head16")
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        for kind in KINDS:
            for machine in MACHINES:
                self.start_one(kind, machine)
        self.until_ready()

    def _environment(self, machine: str) -> dict[str, str]:
        shared = self.folder / "shared"
        return environment(
            self.folder / machine,
            DATABASE_URL=self.database.url,
            REDIS_URL=self.queue.url,
            HOSPINTEL_STORAGE=str(shared),
            HOSPINTEL_KEYS=str(shared / "keys"),
        )

    def start_one(self, kind: str, machine: str) -> None:
        """Start a process, or start it again."""
        programs = {"web": ["-m", "hospintel_site.server", "--port", str(self.ports[machine])], "tick": ["manage.py"]}
        program = programs.get(kind, ["-m", "hospintel_site.worker"])
        arguments = [] if kind == "web" else [kind]
        with (self.folder / f"{kind}-{machine}.log").open("ab") as log:
            self.running[kind + machine] = subprocess.Popen(
                [sys.executable, "-m", "hospintel_site.lifetime", sys.executable, *program, *arguments],
                cwd=ROOT,
                env=self.environments[machine],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def signal(self, number: signal.Signals, kind: str, *machines: str) -> None:
        """Send a signal to all that a process of these machines consists of."""
        for machine in machines:
            os.killpg(self.running[kind + machine].pid, number)
            if number == signal.SIGKILL:
                self.running.pop(kind + machine).wait()

    def start_missing(self) -> None:
        """Start again what was killed."""
        for kind in KINDS:
            for machine in MACHINES:
                if kind + machine not in self.running:
                    self.start_one(kind, machine)
        self.until_ready()

    def until_ready(self) -> None:
        """Wait until both web processes say that the hub has all it needs."""
        for port in self.ports.values():
            eventually(lambda port=port: _is_ready(port), "the hub is ready", self.logs)

    def close(self) -> None:
        """End everything."""
        self.processes.stop()
        self.balancer.close()
        for process in self.running.values():
            process.terminate()
        for process in self.running.values():
            process.wait(PATIENCE_SECONDS)
            _kill_group(process.pid)
        self.ask.close()


def _is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=30).status_code == 200
    except httpx.TransportError:
        return False


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
