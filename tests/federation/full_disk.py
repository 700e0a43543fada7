"""A disk that is full to its last byte; `small_disk` of hub_fixtures.py mounts one."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """Fill a disk to its last byte; make room again at the end."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as handle, suppress(OSError):
        while True:
            handle.write(bytes(4096))
    assert shutil.disk_usage(folder).free == 0
    try:
        yield
    finally:
        filler.unlink()
