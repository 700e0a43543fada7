"""At least forty models that nobody should open: nothing runs, no other file is opened, and each costs little.

With -v a table says what each of them cost.
"""

import ctypes
import multiprocessing
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hostile_archives
import hostile_structures
import pytest
from hostile_models import MADE, SECRET, Hostile, Place

from hospintel_core import apart, architectures, weights
from hospintel_core.errors import ModelFileError

PIXELS = architectures.get("pixels-head16")
MOST_SECONDS, MOST_BYTES = 35, 2 << 30
LISTS = (hostile_archives, hostile_structures)
IN_ACCESS, IN_OPEN, IN_NONBLOCK = 0x1, 0x20, 0x800


class Watch:
    """Tells whether anybody, by whatever way, opened or read a file of a folder: Linux' inotify."""

    def __init__(self, folder: Path) -> None:
        library = ctypes.CDLL(None, use_errno=True)
        self.handle = library.inotify_init1(IN_NONBLOCK)
        assert library.inotify_add_watch(self.handle, os.fsencode(folder), IN_ACCESS | IN_OPEN) >= 0

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.handle)

    def names(self) -> set[str]:
        """The names of the files since the last time."""
        found = set()
        try:
            data = os.read(self.handle, 1 << 16)
        except BlockingIOError:
            return found
        while data:
            (length,) = struct.unpack_from("12xI", data)
            found.add(data[16 : 16 + length].rstrip(b"\0").decode())
            data = data[16 + length :]
        return found


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    lines: list[str] = []
    yield lines
    if request.config.get_verbosity() > 0:
        head = f"{'model':60} {'answer':18} {'s':>5} {'MB':>5}"
        with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
            print("", head, *lines, sep="\n")


@pytest.fixture(scope="module")
def reader() -> Iterator[Any]:
    """A small process that has them read: the peak of a child is at least what its parent had in memory."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        yield lambda path: pool.apply(apart.ask, (path, PIXELS))


def test_there_are_enough_of_them():
    assert len(MADE) > 100
    assert len({one.name for one in MADE}) == len(MADE)


def test_the_watch_sees_a_file_being_read(tmp_path):
    place = Place(tmp_path)
    with Watch(place.secrets) as watch:
        assert watch.names() == set()
        place.raw.read_bytes()
        assert watch.names() == {"secret.bin"}
        assert watch.names() == set()


@pytest.mark.parametrize("one", MADE, ids=lambda one: one.name)
def test_a_hostile_model_does_nothing(tmp_path: Path, table: list[str], reader: Any, one: Hostile):
    place, path = Place(tmp_path), tmp_path / "uploaded"
    path.write_bytes(one.make(place))
    with Watch(place.secrets) as watch:
        answer = reader(path)
        opened = watch.names()

    table.append(f"{one.name:60} {answer.code or 'weights read':18} {answer.seconds:5.1f} {answer.peak_bytes >> 20:5}")
    assert answer.code in one.codes
    assert not place.canary.exists()
    assert opened == set()
    assert answer.seconds < MOST_SECONDS
    assert answer.peak_bytes < MOST_BYTES
    assert (answer.head == b"") == bool(answer.code)
    assert SECRET.tobytes()[:64] not in answer.head
    if answer.code:
        with pytest.raises(ModelFileError) as caught:
            apart.head_of(answer, PIXELS)
        assert str(tmp_path) not in str(caught.value)
    else:
        assert weights.schema_of(apart.head_of(answer, PIXELS)) == PIXELS.head_schema
