"""A round of ten hospitals and one of a thousand, with whole VGG16 heads: what the hub takes of the memory."""

import asyncio
import time
from pathlib import Path

from apps.federation.models import Round
from apps.federation.pipeline import bootstrap, runs
from apps.federation.states import RoundState, UpdateState
from apps.federation.tasks import enqueue
from benchmarks import hub, load
from benchmarks.browsers import Line, Measured, Site, upload
from hospintel_site.demo.processes import HUB, Processes
from tools.processes import memory, reset_peaks

FEW, MANY = 10, 1000
# From the last update to the new version: inspecting what still waits.
PATIENCE_SECONDS = 1800
LOOK_SECONDS = 0.5


def run(folder: Path) -> None:
    """Print a row for each of the two rounds."""
    print(f"\nOne round, {load.ARCHITECTURE}, on one hub\n| hospitals | seconds | hub at the most | updates in it |")
    print("| --- | --- | --- | --- |")
    with hub.running(folder, load.ARCHITECTURE) as processes:
        # Whatever is loaded by the first round of all is not the number of hospitals.
        peaks = [_round(processes, count, f"of-{place}-{count}") for place, count in enumerate((FEW, FEW, MANY))]
    print(f"A thousand take {(peaks[2] - peaks[1]) / 1e6:+.0f} MB against ten.")


def _round(processes: Processes, count: int, slug: str) -> int:
    limits = {"min_updates": count, "grace": 86_400, "deadline": 86_400}
    federation = bootstrap.ensure_federation(slug, architecture=load.ARCHITECTURE, **limits)
    line = Line(processes.port, "127.0.0.1")
    agents = (load.member(federation, f"{slug} {number}") for number in range(count))
    sites = [Site(line, federation.slug, load.ARCHITECTURE, agent) for agent in agents]
    asyncio.run(_seen(sites))
    pid = processes.process(HUB).pid
    reset_peaks(pid)
    began = time.monotonic()
    started, following = runs.start_run(federation, rounds=1, plan={}, actor=load.BENCH)
    enqueue(following)
    asyncio.run(_uploaded(sites))
    # Not the run: its last version would be measured by the agents, and these have no scans.
    while not Round.objects.filter(run=started, state=RoundState.PUBLISHED).exists():
        if time.monotonic() - began > PATIENCE_SECONDS + count:
            raise TimeoutError(f"The round of {count} hospitals did not end.")
        time.sleep(LOOK_SECONDS)
    peak = memory(pid).peak
    updates = Round.objects.get(run=started).updates.filter(state=UpdateState.CONSUMED).count()
    print(f"| {count} | {time.monotonic() - began:.0f} | {peak / 1e6:.0f} MB | {updates} |", flush=True)
    return peak


async def _seen(sites: list[Site]) -> None:
    for site in sites:
        await site.task(0)


async def _uploaded(sites: list[Site]) -> None:
    measured = Measured()
    await upload(sites, measured, every=0.0)
    if measured.wrong or measured.updates != len(sites):
        raise RuntimeError(f"{measured.updates} updates were taken; {dict(measured.wrong)}")
