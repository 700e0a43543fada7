"""`make network`: what docs/reliability.md says of bad lines, measured anew; many minutes, with tables.

uploads   so many uploads, each sent one to five times from eight threads over lines that break at any byte
rounds    rounds of agents whose lines to the hub are slow, break, fall silent and lie
services  the same while the hub's own lines to PostgreSQL and Redis break and fall silent too
"""

import argparse
import logging
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import crowd
import cut_uploads
import office
from drawn import draw_scans
from fault_proxy import CALM, FaultProxy, Weather
from harness import Federation, Hub, eventually, services

PER_CLASS = 12
SEED = 11
BREAKING = Weather(cut=0.4, up=24_000, down=500, slices=4000)
FOUL = Weather(
    latency=2.0,
    jitter=1.0,
    slow=0.15,
    rate=1000,
    slow_seconds=20,
    cut=0.15,
    lost=0.05,
    hole=0.05,
    hole_seconds=30,
    down=20_000,
    slices=1000,
)
# Each statement waits for the one before: a line to a database that takes seconds one way is none.
WORN = {
    "database": Weather(
        latency=0.01, jitter=0.01, cut=0.3, hole=0.1, hole_seconds=30, up=20_000, down=20_000, slices=1000
    ),
    "queue": Weather(latency=0.01, jitter=0.01, cut=0.3, hole=0.1, hole_seconds=30, up=2000, down=2000, slices=1000),
}
DEADLINE = 300
WAIT = re.compile(r"\((\w+)\).*; next try in ([0-9.]+) s")


def upload_all(hub: Hub, count: int, slug: str) -> tuple[list[cut_uploads.Upload], cut_uploads.Told, str]:
    """Send `count` uploads of as many agents to one round; returns them, what the hub said, and the round's id."""
    members = hub.ask(crowd.enrol, slug, count + 1)
    hub.ask(office.start_run, slug, 1)
    port = hub.processes.port
    # The last one has been seen and sends nothing: the round stays open.
    manifest = eventually(lambda: cut_uploads.poll(port, slug, members[-1]), "a round is open", hub.logs)
    uploads = [cut_uploads.seal(member, manifest) for member in members[:-1]]
    with FaultProxy(port, BREAKING, seed=SEED) as line:
        told = cut_uploads.send_all(uploads, line.port, seed=SEED)
    return uploads, told, str(manifest.round_id)


@contextmanager
def behind(
    hub: Hub, slug: str, scans: list[Path], weather: Weather, **limits: object
) -> Iterator[tuple[Federation, FaultProxy]]:
    """A federation whose agents know the hub by the address of a bad line; it is good until they are all there."""
    with FaultProxy(hub.processes.port, seed=SEED) as line:
        federation = Federation(hub, slug, scans, enrol=("--hub", line.url), **limits)
        try:
            federation.until_online()
            line.become(weather)
            yield federation, line
        finally:
            federation.close()


def waits(federation: Federation) -> list[tuple[str, float]]:
    """Code of each failure that the agents told, and the seconds that they waited after it."""
    logs = "\n".join(federation.log(name) for name in federation.hospitals)
    return [(code, float(seconds)) for code, seconds in WAIT.findall(logs)]


def show_uploads(hub: Hub, count: int) -> None:
    began = time.monotonic()
    uploads, told, round_id = upload_all(hub, count, "uploads")
    seconds = time.monotonic() - began
    rows = hub.ask(crowd.kept, round_id)
    assert sorted(digest for _, digest, _ in rows) == sorted(upload.digest for upload in uploads)
    again = sum(len(answers) for answers in told.answers.values()) - len(told.answers)
    print(f"{count} uploads, {told.sends} sends, {told.broken} of them broken, in {seconds:.0f} s: {len(rows)} rows")
    print(f"answers by status: {dict(sorted(told.statuses.items()))}; {again} answers to what had been answered")
    print(f"states: {dict(Counter(state for _, _, state in rows))}")


def show_rounds(hub: Hub, folder: Path, rounds: int, agents: int) -> None:
    with behind(hub, "rounds", draw(folder, agents), FOUL, deadline=DEADLINE) as (federation, line):
        print(f"{FOUL}; deadline {DEADLINE} s")
        show_run(hub, federation, rounds)
        print(f"what the lines did: {dict(line.happened)}")


def draw(folder: Path, agents: int) -> list[Path]:
    scans = [folder / f"scans-{number}" for number in range(agents)]
    for number, one in enumerate(scans):
        draw_scans(one, PER_CLASS, seed=number)
    return scans


def show_run(hub: Hub, federation: Federation, rounds: int) -> None:
    run, shown = federation.run(rounds=rounds), 0
    print("| round | attempt | state | updates | seconds | past the deadline |\n| --- | --- | --- | --- | --- | --- |")
    while True:
        over = hub.ask(office.run_state, run) in {"DONE", "PAUSED", "ABORTED"}
        ended = hub.ask(crowd.times, run)
        for one, took in list(zip(federation.rounds(run), ended, strict=False))[shown:]:
            late = max(0.0, took["late"])
            figures = (one["number"], one["attempt"], one["state"], len(one["updates"]), f"{took['seconds']:.0f}", late)
            print("|", " | ".join(map(str, figures)), "|", flush=True)
        shown = len(ended)
        if over:
            break
        time.sleep(1)
    told = waits(federation)
    print(f"failures told by agents: {dict(Counter(code for code, _ in told))}")
    print(f"longest wait after one: {max((seconds for _, seconds in told), default=0.0):.1f} s")
    print(f"the audit holds: {hub.ask(office.audit_holds)}")


@contextmanager
def on_services(folder: Path) -> Iterator[tuple[Hub, dict[str, FaultProxy]]]:
    """A hub with a line to PostgreSQL and one to Redis; both are there already. The administrator has good ones."""
    near = services()
    database, queue = urlsplit(near["DATABASE_URL"]), urlsplit(near["REDIS_URL"])
    assert queue.port
    socket = Path(parse_qs(database.query)["host"][0]) / ".s.PGSQL.5432"
    with FaultProxy(socket, seed=SEED) as first, FaultProxy(queue.port, seed=SEED) as second:
        far = {
            "DATABASE_URL": f"postgresql://{database.username}@127.0.0.1:{first.port}{database.path}",
            "REDIS_URL": f"redis://127.0.0.1:{second.port}{queue.path}",
        }
        hub = Hub(folder, desk=near, **far)
        try:
            yield hub, {"database": first, "queue": second}
        finally:
            for line in (first, second):
                line.become(CALM)
            hub.close()


def show_services(folder: Path, rounds: int, agents: int) -> None:
    scans = draw(folder, agents)
    with (
        on_services(folder) as (hub, lines),
        behind(hub, "rounds", scans, FOUL, deadline=DEADLINE) as (federation, agents_line),
    ):
        print(f"agents: {FOUL}; {WORN}; deadline {DEADLINE} s")
        for name, line in lines.items():
            line.become(WORN[name])
        show_run(hub, federation, rounds)
        for name, line in {"hub": agents_line, **lines}.items():
            print(f"what the lines to the {name} did: {dict(line.happened)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("uploads", "rounds", "services"))
    parser.add_argument("--uploads", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--agents", type=int, default=5)
    given = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="hospintel-network-") as folder:
        if given.what == "services":
            show_services(Path(folder), given.rounds, given.agents)
            return
        hub = Hub(Path(folder))
        try:
            if given.what == "uploads":
                show_uploads(hub, given.uploads)
            else:
                show_rounds(hub, Path(folder), given.rounds, given.agents)
        finally:
            hub.close()


if __name__ == "__main__":
    main()
