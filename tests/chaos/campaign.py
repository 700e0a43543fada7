"""Kill the hub's and the agents' processes at every failpoint and at random moments; see that no round is lost.

    make chaos [KILLS=200] [REPEATS=2] [SHORT=1] [SERVICES=1] [CHAOS=folder]

Each scenario is a line of CHAOS/results.jsonl (var/chaos); one that is there is not run again. The exit status is 1
where something that must hold did not. SERVICES=1 runs the hub on a private PostgreSQL and Redis, and kills these too.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jobs
import ledger
import uploads
from ground import ROUNDS, Ground, at_random, named

from hospintel_core.failpoints import POINTS
from tools.services import Server, running

# What a run of rounds gets to; the others need a fine-tuning job, an uploaded model, a validation set, a bad candidate.
OF_ROUNDS = tuple(
    point
    for point in POINTS
    if point.split(".")[0]
    in {
        *("upload", "receive", "inspect", "close", "aggregate", "gate", "evaluation_open", "report", "evaluation_end"),
        *("publish", "run_end", "open", "finish", "write_model", "export_model", "audit", "agent"),
    }
)
SHORT = ("receive.committed", "aggregate.stored", "publish.before_commit", "audit.appended")
# Of two rounds, only the second is sure to get there.
ONCE = ("run_end", "evaluation_open", "evaluation_end", "write_model", "export_model")
Scenario = tuple[str, Callable[[Ground], dict[str, Any]]]


class Campaign:
    """Scenarios, their results in a file, and a hub, with its servers if it has any, that lives through them."""

    def __init__(self, folder: Path, servers: Mapping[str, Server] | None = None) -> None:
        self.servers = servers or {}
        self.file = folder / "results.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        self.results = [json.loads(line) for line in lines]
        self.wanted, self.usual = list[str](), 0.0
        self._bench: jobs.Bench | None = None

    def has(self, name: str) -> bool:
        """Whether a scenario has a result."""
        return any(one["scenario"] == name for one in self.results)

    def run(self, scenarios: Iterable[Scenario]) -> int:
        """Run what has no result yet; returns how many scenarios broke something."""
        folder = Path(tempfile.mkdtemp(prefix="hospintel-chaos-"))
        ground = Ground(folder, self.servers)
        try:
            self._learn(ground)
            for name, scenario in scenarios:
                if not self.has(name):
                    self._note(name, ground, scenario)
        finally:
            ground.close()
            shutil.rmtree(folder, ignore_errors=True)
        return sum(bool(one["violations"]) for one in self.results)

    def _learn(self, ground: Ground) -> None:
        """Two runs without faults: their digests, and how long it takes once everybody has their scans."""
        for _ in range(2):
            began = time.monotonic()
            run = ground.start_run()
            assert ground.until(lambda run=run: ground.is_done(run)), ground.hub.logs()
            self.usual = time.monotonic() - began
            made = ground.hub.ask(ledger.digests, run)
            assert made == (self.wanted or made)
            self.wanted = made
        assert len(self.wanted) == ROUNDS
        assert ground.check(run, self.wanted) == []
        print(f"without faults: {self.usual:.1f} s, {self.wanted[-1][:12]}", flush=True)

    def _note(self, name: str, ground: Ground, scenario: Callable[[Ground], dict[str, Any]]) -> None:
        result = {"scenario": name, "at": int(time.time()), **scenario(ground)}
        self.results.append(result)
        with self.file.open("a") as file:
            file.write(json.dumps(result) + "\n")
        told = "; ".join(result["violations"]) or "ok"
        print(f"{name}: {told} ({result['seconds']} s, recovery {result['recovery']} s)", flush=True)
        if result["violations"]:
            (self.file.parent / f"{name.replace('/', '-')}.log").write_text(ground.hub.logs())

    def scenarios(self, repeats: int, kills: int) -> list[Scenario]:
        """All of them, the random ones spread over the whole: wherever it is cut off, there is some of each kind."""
        chosen = [scenario for repeat in range(repeats) for scenario in self._at_points(repeat)]
        by_chance: list[Scenario] = [(f"random/{seed}", self._random(seed)) for seed in range(kills)]
        places = [((number + 0.5) / len(part), one) for part in (chosen, by_chance) for number, one in enumerate(part)]
        return [one for _, one in sorted(places, key=lambda place: place[0])]

    def _at_points(self, repeat: int) -> Iterator[Scenario]:
        for number, point in enumerate(OF_ROUNDS):
            passes = (repeat * 7 + number * 3) % 25 if point.startswith("audit.") else repeat % 2
            passes = 0 if point.split(".")[0] in ONCE else passes
            yield f"{point}/{repeat}", self._named(point, passes)
        for point in jobs.POINTS:
            yield f"{point}/{repeat}", self._on_bench(point, jobs.Bench.run)
        for point, kind in uploads.KINDS.items():
            yield f"{point}/{repeat}", self._on_bench(point, kind)

    def short(self) -> Iterator[Scenario]:
        """A minute's worth."""
        for point in SHORT:
            yield f"short/{point}", self._named(point, 0)

    def _named(self, point: str, passes: int) -> Callable[[Ground], dict[str, Any]]:
        return lambda ground: named(ground, point, passes, "kill", self.wanted)

    def _random(self, seed: int) -> Callable[[Ground], dict[str, Any]]:
        return lambda ground: at_random(ground, seed, self.usual, self.wanted)

    def _on_bench(
        self, point: str, kind: Callable[[jobs.Bench, str], dict[str, Any]]
    ) -> Callable[[Ground], dict[str, Any]]:
        def run(ground: Ground) -> dict[str, Any]:
            if self._bench is None:
                self._bench = jobs.Bench(ground)
            return kind(self._bench, point)

        return run


def summary(results: list[dict[str, Any]]) -> str:
    """What came of it, in one line."""
    times = sorted(one["recovery"] for one in results if one["reached"])
    broken = [one["scenario"] for one in results if one["violations"]]
    missed = [one["scenario"] for one in results if not one["reached"]]
    middle, last = (times[len(times) // 2], times[-1]) if times else (0, 0)
    return (
        f"{len(results)} scenarios, {len(times)} with a kill; recovery median {middle} s, most {last} s; "
        f"not reached: {missed or 'none'}; violations in: {broken or 'none'}"
    )


@contextmanager
def servers(wanted: bool) -> Iterator[dict[str, Server]]:
    """Run PostgreSQL and Redis for the hubs of this process, where they are wanted."""
    if not wanted:
        yield {}
        return
    with running() as (database, broker):
        os.environ.update(DATABASE_URL=database.url, REDIS_URL=broker.url)
        yield {"database": database, "broker": broker}


def main() -> int:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--services", action="store_true")
    given = parser.parse_args()
    with servers(given.services) as there:
        campaign = Campaign(given.folder, there)
        broken = campaign.run(campaign.short() if given.short else campaign.scenarios(given.repeats, given.kills))
    print(summary(campaign.results))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
