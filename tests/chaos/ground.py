"""A hub and two agents that somebody kills, and who starts again what the hub's supervisor does not."""

import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import ledger
import office
from drawn import draw_scans
from harness import Federation, Hub
from standstill import Failpoints

from hospintel_site.demo.errors import DemoError
from hospintel_site.demo.processes import HUB
from tools.processes import descendants
from tools.services import Server

AGENTS, PER_CLASS, ROUNDS = 2, 10, 2
LOOK_SECONDS = 0.05
# Nothing is mended after this: what has not ended by then has not recovered.
PATIENCE_SECONDS = 180.0
# The promise: from the kill to the end of the run.
RECOVERY_SECONDS = 60.0
# How long a killed server stays away.
MOST_DOWN_SECONDS = 5.0
SLUG = "chaos"
WORKERS = {name: f"hospintel_site.worker {name}" for name in ("default", "training")}
TARGETS = (
    *("web", "tick", "default worker", "default process", "training worker", "training process"),
    *("agent a", "agent b", "both agents", "supervisor", "whole hub"),
)


class Ground:
    """One hub, one federation of two agents, and their failpoints.

    Args:
        folder: where everything lies.
        servers: what the hub runs on, by name, where these may be killed too.
    """

    def __init__(self, folder: Path, servers: Mapping[str, Server]) -> None:
        self.servers, self.targets = servers, (*TARGETS, *servers)
        self.points = Failpoints(folder / "failpoints")
        self.hub = Hub(folder, **self.points.environment)
        scans = [folder / f"scans-{number}" for number in range(AGENTS)]
        for number, one in enumerate(scans):
            draw_scans(one, PER_CLASS, seed=number)
        self.federation = Federation(self.hub, SLUG, scans, deadline=3600, grace=3600)
        self.federation.until_online()

    def close(self) -> None:
        """End everything."""
        self.federation.close()
        self.hub.close()

    def mend(self) -> list[str]:
        """Start again what has ended and nobody else starts; returns what that was."""
        mended = []
        if self.hub.processes.process(HUB).poll() is not None:
            # What the old one had may take a moment to go, and a failpoint may hit the new one: then again.
            with suppress(DemoError):
                self.hub.start()
            mended.append("hub")
        for name in self.federation.hospitals:
            if self.hub.processes.process(name).poll() is not None:
                self.federation.start_agent(name)
                mended.append(name)
        return mended

    def until(self, condition: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> Any:
        """Wait for the condition and mend meanwhile; returns what it gave, or what is false at the end."""
        end = time.monotonic() + seconds
        while not (found := condition()) and time.monotonic() < end:
            self.mend()
            time.sleep(LOOK_SECONDS)
        return found

    def victims(self, target: str) -> list[int]:
        """Pids of a target; none where it does not run at the moment."""
        up = self.hub.processes.process(HUB).pid
        agents = [self.hub.processes.process(name).pid for name in self.federation.hospitals]
        if target.startswith(tuple(WORKERS)):
            queue, _, part = target.partition(" ")
            main = self.hub.child(WORKERS[queue])
            return [main] if part == "worker" else descendants(main)[:1]
        found = {
            "web": lambda: [self.hub.child("hospintel_site.server")],
            "tick": lambda: [self.hub.child("manage.py tick")],
            "agent a": lambda: agents[:1],
            "agent b": lambda: agents[1:],
            "both agents": lambda: agents,
            "supervisor": lambda: [up],
            "whole hub": lambda: [up, *descendants(up)],
        }
        return found[target]()

    def kill(self, target: str, down_seconds: float) -> int:
        """Kill -9 a target; returns how many processes that were. A server is started again after some seconds."""
        if target in self.servers:
            self.servers[target].crash(down_seconds)
            return 1
        with suppress(StopIteration):
            pids = self.victims(target)
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return len(pids)
        return 0

    def start_run(self) -> str:
        """Begin a run from the seeded model."""
        self.hub.ask(ledger.end_runs, SLUG)
        self.hub.ask(ledger.back_to_the_seed, SLUG)
        return self.federation.run(rounds=ROUNDS, epochs=2)

    def forget_model_files(self) -> None:
        """Delete what was written of the versions, so that it is written once more."""
        for name in ("h5", "browser"):
            for path in (self.hub.folder / "var" / "models" / name).glob("*"):
                path.unlink(missing_ok=True)

    def is_done(self, run: str) -> bool:
        """Whether the run is."""
        return self.hub.ask(office.run_state, run) == "DONE"

    def check(self, run: str, wanted: list[str]) -> list[str]:
        """What does not hold after the run, and what is left of it half a minute later."""
        found = self.hub.ask(ledger.violations, run, AGENTS, wanted)
        self.until(lambda: not self.hub.ask(ledger.left_over, run, SLUG), 60.0)
        return found + [f"left: {one}" for one in self.hub.ask(ledger.left_over, run, SLUG)]


def named(ground: Ground, point: str, passes: int, action: str, wanted: list[str]) -> dict[str, Any]:
    """A run in which whoever reaches the point dies there."""
    if point.startswith(("write_model.", "export_model.")):
        ground.forget_model_files()
    ground.points.arm(point, passes, action)
    began = time.monotonic()
    try:
        run = ground.start_run()
        ground.until(lambda: ground.points.fired(point) or ground.is_done(run))
        killed = time.monotonic()
        return _result(ground, run, wanted, began, killed, reached=ground.points.fired(point) is not None)
    finally:
        ground.points.disarm(point)


def at_random(ground: Ground, seed: int, usual: float, wanted: list[str]) -> dict[str, Any]:
    """A run in which one process, or two, die at a moment that the seed chooses."""
    dice = random.Random(seed)
    kills = sorted((dice.uniform(0, usual), dice.choice(ground.targets)) for _ in range(dice.choice((1, 1, 1, 2))))
    began = time.monotonic()
    down = dice.uniform(0.0, MOST_DOWN_SECONDS)
    run, count, told = ground.start_run(), 0, []
    for moment, target in kills:
        while (rest := began + moment - time.monotonic()) > 0:
            time.sleep(min(rest, LOOK_SECONDS))
        # A run that was quicker than usual is over: then nothing of it was killed.
        count += 0 if ground.is_done(run) else ground.kill(target, down)
        told.append(f"{target} after {time.monotonic() - began:.1f} s")
    killed = time.monotonic()
    return {"kills": told, **_result(ground, run, wanted, began, killed, reached=count > 0)}


def _result(
    ground: Ground, run: str, wanted: list[str], began: float, killed: float, *, reached: bool
) -> dict[str, Any]:
    done = ground.until(lambda: ground.is_done(run))
    ended = time.monotonic()
    found = ground.check(run, wanted) if done else [f"not done after {ended - killed:.0f} s"]
    if ended - killed > RECOVERY_SECONDS:
        found.append(f"recovered after {ended - killed:.0f} s")
    times = {"seconds": round(ended - began, 1), "recovery": round(ended - killed, 1)}
    return {"reached": reached, **times, "violations": found}
