"""Each test has a hub of its own (database, folders, queue) with the permanent cast of `world.py` in it."""

import asyncio
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import pytest
import time_machine
from asgiref.sync import async_to_sync
from django.utils import timezone
from hub_driver import Hub, empty_queue
from s3_server import Relay, S3Server
from site_agent import SiteAgent
from world import Cast, Snapshot, World, enrol_agent, take_snapshot

from apps.accounts.models import Hospital
from apps.audit import denials
from apps.federation import live
from apps.federation.models import Federation
from apps.federation.pipeline import storage
from hospintel_site.env import S3

# What a conftest.py takes from here.
__all__ = [
    "cast",
    "clean_hub",
    "clock",
    "either",
    "enrolled",
    "hub",
    "in_bucket",
    "in_loop",
    "north",
    "own_keys",
    "relay_to",
    "s3_server",
    "small_disk",
    "snapshot",
    "south",
    "stranger",
    "with_credentials",
    "world",
]

LOOP_SECONDS = 240


@pytest.fixture
def clean_hub(settings: Any, tmp_path: Path) -> None:
    """Leave nothing of an earlier test on disk, in the queue or in memory."""
    settings.UPLOAD_DIR, settings.MODEL_DIR = tmp_path / "uploads", tmp_path / "models"
    empty_queue()
    denials.forget_denials()


@pytest.fixture(scope="session")
def snapshot(
    django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Snapshot]:
    """The world, to be copied."""
    with django_db_blocker.unblock(), take_snapshot(tmp_path_factory.mktemp("world")) as taken:
        yield taken


@pytest.fixture
def world(
    clean_hub: None, snapshot: Snapshot, django_db_blocker: Any, settings: Any, tmp_path: Path
) -> Iterator[World]:
    """Give the test a hub of its own, but for the keys: a process reads an RSA file once, which takes a while."""
    settings.KEYS = snapshot.folder / "keys"
    for left in (settings.KEYS / "rounds").glob("*"):
        left.unlink()
    with django_db_blocker.unblock(), snapshot.restored(tmp_path) as restored:
        yield restored


@pytest.fixture
def own_keys(world: World, settings: Any, tmp_path: Path) -> Path:
    """Give the test a keys folder of its own, which it may change."""
    if tmp_path in settings.KEYS.parents:
        kept: Path = settings.KEYS
        return kept
    own = tmp_path / "own-keys"
    shutil.copytree(settings.KEYS, own)
    settings.KEYS = own
    return own


@pytest.fixture
def cast(world: World) -> Cast:
    """People and hospitals."""
    return world.cast


@pytest.fixture
def hub(world: World) -> Hub:
    """A hub with `brain-mri` (pixels-head16), in which North and South take part; two updates make a round."""
    return Hub(Federation.objects.get())


@pytest.fixture
def north(world: World) -> SiteAgent:
    """North Clinic's agent."""
    return SiteAgent(world.agents["north"])


@pytest.fixture
def south(world: World) -> SiteAgent:
    """South Clinic's agent."""
    return SiteAgent(world.agents["south"])


@pytest.fixture
def stranger(world: World) -> SiteAgent:
    """The enrolled agent of a hospital that takes part in no federation."""
    return SiteAgent(world.agents["island"])


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    """A clock that stands still until the test moves it."""
    with time_machine.travel(timezone.now(), tick=False) as traveller:
        yield traveller


@pytest.fixture
def enrolled(hub: Hub) -> Callable[[Hospital], SiteAgent]:
    """Enrol one more agent of a hospital."""
    return lambda hospital: SiteAgent(enrol_agent(hospital))


@pytest.fixture
def in_loop():
    """Run a coroutine as the web process would: what is synchronous in it runs in the test's own thread."""

    def run(make):
        @async_to_sync
        async def main():
            try:
                return await asyncio.wait_for(make(), LOOP_SECONDS)
            finally:
                task = live.tailer._task
                if task is not None:
                    task.cancel()
                    with suppress(asyncio.CancelledError):
                        await task

        return main()

    return run


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str, int], Path]]:
    """Mount file systems that hold so many kilobytes; they are gone after the test."""
    mounted: list[Path] = []

    def mount(name: str, kilobytes: int) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        options = ["-t", "tmpfs", "-o", f"size={kilobytes}k,mode=700", "tmpfs"]
        done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"mounting a small file system is not allowed here: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """A storage that speaks S3, started once."""
    server = S3Server()
    yield server
    server.close()


@pytest.fixture
def relay_to() -> Iterator[Callable[[S3], Relay]]:
    """Put a relay before a bucket's server, which the test may close."""
    relays: list[Relay] = []

    def make(place: S3) -> Relay:
        relays.append(Relay(place))
        return relays[-1]

    yield make
    for relay in relays:
        relay.away()


@pytest.fixture
def with_credentials(s3_server: S3Server) -> Callable[[], AbstractContextManager[None]]:
    """Have the server look at credentials, as others do at all times."""
    return s3_server.strict


@pytest.fixture
def in_bucket(world: World, settings: Any, s3_server: S3Server, relay_to: Callable[[S3], Relay]) -> Relay:
    """Have the test's hub keep its files in a bucket; what is returned takes it away and brings it back."""
    heads = {found.name: storage.models().get(found.name) for found in storage.models().list("")}
    relay = relay_to(s3_server.bucket())
    settings.S3 = relay.place
    for name, head in heads.items():
        storage.models().put(name, head)
    # Who looks for files in the folders finds none.
    settings.MODEL_DIR = settings.UPLOAD_DIR = Path("/dev/null/nothing")
    return relay


@pytest.fixture(params=["folder", "bucket"])
def either(request: pytest.FixtureRequest, world: World) -> str:
    """Run a test twice, once with each storage; the folder alone by `@in_folder`."""
    if request.param == "bucket":
        request.getfixturevalue("in_bucket")
    kind: str = request.param
    return kind
