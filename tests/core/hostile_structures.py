"""Hostile models, continued: files whose structure is the attack (hostile_models.py says what `MADE` is)."""

import random
import struct
from typing import Any

import numpy as np
from hostile_models import KERNEL, LAYER, SECRET, Place, changed, hostile

from hospintel_core import h5
from hospintel_core.uploaded import MAX_BYTES

UNREADABLE = "model_unreadable"


def _cyclic(place: Place, file: Any) -> None:
    del file[LAYER]
    file[LAYER] = file["model_weights"]
    file["model_weights/again"] = file["/"]


def _array_for_group(place: Place, file: Any) -> None:
    del file[LAYER]
    file[LAYER] = SECRET


def _group_for_array(place: Place, file: Any) -> None:
    del file[KERNEL]
    file.create_group(KERNEL)


def _deep(place: Place, file: Any) -> None:
    group = file["model_weights"]
    for _ in range(2000):
        group = group.create_group("a")


def _wide(place: Place, file: Any) -> None:
    group = file["model_weights"]
    for number in range(20_000):
        group[f"layer {number}"] = file[LAYER]


def _large_attributes(place: Place, file: Any) -> None:
    file.attrs["model_config"] = np.void(bytes(60_000))
    for number in range(500):
        file[KERNEL].attrs[f"a{number}"] = np.zeros(1000)


changed("groups in a circle", "model_missing", _cyclic)
changed("an array in the place of a group", "model_missing", _array_for_group)
changed("a group in the place of an array", "model_missing", _group_for_array)
changed("groups 2,000 deep", "", _deep)
changed("20,000 layers that are one", "", _wide)
changed("attributes of 4 MB", "", _large_attributes, libver="latest")


@hostile("another format in front (user block)", UNREADABLE)
def _user_block(place: Place) -> bytes:
    return b"MZ".ljust(512, b"\0") + place.honest()


@hostile("an archive's signature in front", UNREADABLE)
def _two_formats(place: Place) -> bytes:
    return b"PK\x03\x04".ljust(512, b"\0") + place.honest()


@hostile("an archive behind", "")
def _archive_behind(place: Place) -> bytes:
    return place.honest() + b"PK\x05\x06" + bytes(18)


@hostile("nothing", UNREADABLE)
def _nothing(place: Place) -> bytes:
    return b""


@hostile("a signature alone", UNREADABLE)
def _signature(place: Place) -> bytes:
    return h5.MAGIC


@hostile("zeros behind a signature", UNREADABLE)
def _zeros(place: Place) -> bytes:
    return h5.MAGIC + bytes(100 << 20)


@hostile("noise behind a signature", UNREADABLE)
def _noise(place: Place) -> bytes:
    return h5.MAGIC + random.Random(1).randbytes(20 << 20)


@hostile("larger than any model", "model_too_large")
def _large(place: Place) -> bytes:
    return place.honest() + bytes(MAX_BYTES)


for _share in (0.02, 0.5, 0.97):

    @hostile(f"cut off at {_share:.0%}", UNREADABLE)
    def _truncated(place: Place, share: float = _share) -> bytes:
        data = place.honest()
        return data[: int(len(data) * share)]


def _poked(place: Place, find: bytes, offset: int, value: bytes) -> bytes:
    """An honest file with other bytes behind the first place where some are found."""
    data = bytearray(place.honest())
    start = data.index(find) + offset
    data[start : start + len(value)] = value
    return bytes(data)


@hostile("an end of file at 8 EiB", UNREADABLE)
def _end_of_file(place: Place) -> bytes:
    return _poked(place, h5.MAGIC, 40, struct.pack("<Q", 2**63 - 1))


@hostile("a base address of 4 GiB", UNREADABLE)
def _base_address(place: Place) -> bytes:
    return _poked(place, h5.MAGIC, 24, struct.pack("<Q", 2**32))


@hostile("a tree that is its own branch", UNREADABLE, "model_missing", "model_too_costly")
def _own_branch(place: Place) -> bytes:
    at = place.honest().index(b"TREE")
    # Level 1, and behind the siblings and the first key: the address of the first child.
    data = bytearray(_poked(place, b"TREE", 5, b"\1"))
    data[at + 32 : at + 40] = struct.pack("<Q", at)
    return bytes(data)


@hostile("a tree that is its own neighbour", "")
def _own_neighbour(place: Place) -> bytes:
    at = place.honest().index(b"TREE")
    return _poked(place, b"TREE", 8, struct.pack("<QQ", at, at))


@hostile("a heap of 2^62 bytes", UNREADABLE, "model_missing", "model_too_costly")
def _heap(place: Place) -> bytes:
    return _poked(place, b"HEAP", 8, struct.pack("<Q", 2**62))


for _seed in range(8):

    @hostile(f"damaged in forty places ({_seed})", UNREADABLE, "model_missing", "model_shape", "model_dtype", "")
    def _damaged(place: Place, seed: int = _seed) -> bytes:
        chance, data = random.Random(seed), bytearray(place.honest())
        for _ in range(40):
            data[chance.randrange(8, 6000)] = chance.randrange(256)
        return bytes(data)
