"""A round of ten hospitals and one of a thousand, with whole VGG16 heads: what the hub takes of the memory."""

import asyncio
import base64
import itertools
import time
from pathlib import Path
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from apps.federation.models import Round, Run
from apps.federation.pipeline import bootstrap, runs
from apps.federation.states import RunState, UpdateState
from apps.federation.tasks import enqueue
from benchmarks import load
from benchmarks.browsers import Line, Measured, Site, upload
from benchmarks.memory import of_hub, reset_peaks
from hospintel_site.demo.processes import HUB, Processes

FEW, MANY = 10, 1000
# From the last update to the new version: inspecting what still waits.
PATIENCE_SECONDS = 1800
LOOK_SECONDS = 0.5


def run(folder: Path) -> None:
    """Print a row for each of the two rounds."""
    print(f"\nOne round, {load.ARCHITECTURE}, on one hub\n| hospitals | seconds | hub at the most | updates in it |")
    print("| --- | --- | --- | --- |")
    with load.a_hub(folder) as processes:
        # Whatever is loaded by the first round of all is not the number of hospitals.
        peaks = [_round(processes, count, f"of-{place}-{count}") for place, count in enumerate((FEW, FEW, MANY))]
    print(f"A thousand take {(peaks[2] - peaks[1]) / 1e6:+.0f} MB against ten.")


def _round(processes: Processes, count: int, slug: str) -> int:
    limits = {"min_updates": count, "grace": 86_400, "deadline": 86_400}
    federation = bootstrap.ensure_federation(slug, architecture=load.ARCHITECTURE, **limits)
    sites = [
        Site(
            Line(processes.port, "127.0.0.1"),
            federation.slug,
            load.ARCHITECTURE,
            UUID(agent),
            token,
            Ed25519PrivateKey.from_private_bytes(base64.b64decode(key)),
            itertools.count(1),
        )
        for agent, token, key in (load.member(federation, f"{slug} {number}") for number in range(count))
    ]
    asyncio.run(_seen(sites))
    hub = processes.process(HUB).pid
    reset_peaks(hub)
    began = time.monotonic()
    started, following = runs.start_run(federation, rounds=1, plan={}, actor=load.BENCH)
    enqueue(following)
    asyncio.run(_uploaded(sites))
    while Run.objects.get(pk=started.pk).state != RunState.DONE:
        if time.monotonic() - began > PATIENCE_SECONDS + count:
            raise TimeoutError(f"The round of {count} hospitals did not end.")
        time.sleep(LOOK_SECONDS)
    peak = sum(most for _, most in of_hub(hub).values())
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
