"""One hub for all flows of a test process, phantoms, and a federation of its own for each test."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from drawn import draw_scans
from harness import Federation, Found, Hub

HOSPITALS = 3
PER_CLASS = 12


@pytest.fixture(scope="session")
def scans(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Folders with the scans of three hospitals."""
    folders = [tmp_path_factory.mktemp("scans") for _ in range(HOSPITALS)]
    for number, folder in enumerate(folders):
        draw_scans(folder, PER_CLASS, seed=number)
    return folders


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub that runs."""
    hub = Hub(tmp_path_factory.mktemp("hub"))
    yield hub
    hub.close()


@pytest.fixture
def found(hub: Hub, scans: list[Path], request: pytest.FixtureRequest) -> Iterator[Found]:
    """Make a federation: `found(hospitals, **limits)` enrols that many agents and starts them, on `scans` if given."""
    made: list[Federation] = []

    usual = scans

    def make(hospitals: int, *, scans: list[Path] | None = None, **limits: object) -> Federation:
        slug = re.sub(r"[^a-z]+", "-", request.node.name.removeprefix("test_"))[-40:].strip("-")
        made.append(Federation(hub, slug, scans or usual[:hospitals], **limits))
        return made[-1]

    yield make
    for federation in made:
        federation.close()
