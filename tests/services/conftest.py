"""Two of each process on a PostgreSQL and a Redis that no other test uses."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster
from drawn import draw_scans

from tools import services

HOSPITALS = 3


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A grown hub that runs."""
    with services.running() as (database, queue):
        cluster = Cluster(tmp_path_factory.mktemp("cluster"), database, queue)
        yield cluster
        cluster.close()


@pytest.fixture(scope="session")
def scans(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Folders with the scans of some hospitals."""
    folders = [tmp_path_factory.mktemp("scans") for _ in range(HOSPITALS)]
    for number, folder in enumerate(folders):
        draw_scans(folder, 12, seed=number)
    return folders
