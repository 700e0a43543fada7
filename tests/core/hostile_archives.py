"""Hostile models, continued: .keras archives (hostile_models.py says what `MADE` is)."""

import pickle
import stat
import struct
import zipfile
from collections.abc import Callable
from io import BytesIO
from typing import Any

import h5py
from hostile_models import CONFIGURATIONS, Canary, Place, hostile, text_of

from hospintel_core import h5

ARCHIVE, UNREADABLE, LARGE = "model_archive", "model_unreadable", "model_too_large"
WEIGHTS = "model.weights.h5"
Members = list[tuple[str | zipfile.ZipInfo, bytes]]


def members(place: Place, config: str = "{}") -> Members:
    """What Keras puts in."""
    return [("metadata.json", b"{}"), ("config.json", config.encode()), (WEIGHTS, place.weights_only())]


def packed(content: Members, method: int = zipfile.ZIP_STORED) -> bytes:
    file = BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in content:
            # zipfile warns of a name that is there already.
            archive.NameToInfo.clear()
            archive.writestr(name, data)
    return file.getvalue()


def archived(name: str, *codes: str) -> Callable[[Callable[[Place], bytes]], Callable[[Place], bytes]]:
    return hostile(f"keras: {name}", *codes)


for _name, _made in CONFIGURATIONS.items():

    @archived(_name, "")
    def _configured(place: Place, made: Callable[[Place], dict[str, object]] = _made) -> bytes:
        return packed(members(place, text_of(made(place))))


@archived("a configuration nested 200,000 deep", "")
def _nested(place: Place) -> bytes:
    return packed(members(place, "[" * 200_000))


@archived("a configuration of 2 MB", LARGE)
def _long(place: Place) -> bytes:
    return packed(members(place, "x" * (2 << 20)))


@archived("weights that unfold a thousandfold", LARGE)
def _bomb(place: Place) -> bytes:
    return packed([*members(place)[:2], (WEIGHTS, h5.MAGIC + bytes(100 << 20))], zipfile.ZIP_DEFLATED)


@archived("a configuration that unfolds a thousandfold", LARGE)
def _bomb_of_text(place: Place) -> bytes:
    return packed(members(place, " " * (1 << 20)), zipfile.ZIP_DEFLATED)


@archived("packed with deflate", "")
def _deflated(place: Place) -> bytes:
    return packed(members(place), zipfile.ZIP_DEFLATED)


for _method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):

    @archived(f"packed with method {_method}", ARCHIVE)
    def _other_method(place: Place, method: int = _method) -> bytes:
        return packed(members(place), method)


@archived("the weights twice", ARCHIVE)
def _twice(place: Place) -> bytes:
    return packed([*members(place), (WEIGHTS, b"other")])


for _extra in ("../../canary", "/etc/cron.d/canary", "assets/x", "x\\y", "model.weights.h5/", "canary\0.txt"):

    @archived(f"a member {_extra!r} too", ARCHIVE)
    def _extra_member(place: Place, extra: str = _extra) -> bytes:
        return packed([*members(place), (extra, b"x")])


@archived("60,000 members", ARCHIVE)
def _many(place: Place) -> bytes:
    return packed([*members(place), *((f"m{number}", b"") for number in range(60_000))])


@archived("no metadata", ARCHIVE)
def _missing(place: Place) -> bytes:
    return packed(members(place)[1:])


@archived("the weights under a path that leads out", ARCHIVE)
def _path(place: Place) -> bytes:
    return packed([*members(place)[:2], (f"../{WEIGHTS}", place.weights_only())])


@archived("the weights as a link to another file", UNREADABLE)
def _link(place: Place) -> bytes:
    info = zipfile.ZipInfo(WEIGHTS)
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return packed([*members(place)[:2], (info, str(place.secret).encode())])


@archived("weights that link to another file", "model_link")
def _linked_weights(place: Place) -> bytes:
    def change(file: Any) -> None:
        del file["layers/dense/vars/0"]
        file["layers/dense/vars/0"] = h5py.ExternalLink(str(place.secret), "values")

    return packed([*members(place)[:2], (WEIGHTS, place.weights_only(change))])


@archived("weights that are a pickle", UNREADABLE)
def _pickled(place: Place) -> bytes:
    return packed([*members(place)[:2], (WEIGHTS, pickle.dumps(Canary(place.command)))])


@archived("weights that are an archive", UNREADABLE)
def _archive_within(place: Place) -> bytes:
    return packed([*members(place)[:2], (WEIGHTS, packed(members(place)))])


@archived("weights with another format in front", UNREADABLE)
def _user_block(place: Place) -> bytes:
    return packed([*members(place)[:2], (WEIGHTS, bytes(512) + place.weights_only())])


@archived("a script in front", UNREADABLE)
def _script(place: Place) -> bytes:
    return f"#!/bin/sh\n{place.command}\n".encode() + packed(members(place))


@archived("half an archive in front", ARCHIVE)
def _in_front(place: Place) -> bytes:
    return b"PK\x03\x04" + bytes(100) + packed(members(place))


@archived("something behind", ARCHIVE, UNREADABLE)
def _behind(place: Place) -> bytes:
    return packed(members(place)) + b"x" * 100


@archived("a comment with a second end", ARCHIVE)
def _comment(place: Place) -> bytes:
    data = packed(members(place))
    return data[:-2] + struct.pack("<H", 22) + b"PK\x05\x06" + bytes(18)


def _poked(place: Place, sign: bytes, offset: int, value: bytes, which: int = 2) -> bytes:
    """An honest archive with other bytes in one member's header: the weights', where not another one is asked for."""
    data = bytearray(packed(members(place)))
    at = -1
    for _ in range(which + 1):
        at = data.index(sign, at + 1)
    data[at + offset : at + offset + len(value)] = value
    return bytes(data)


CENTRAL, LOCAL, END = b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"


@archived("encrypted", ARCHIVE)
def _encrypted(place: Place) -> bytes:
    return _poked(place, CENTRAL, 8, b"\1\0")


@archived("weights of 4 GiB by their header", LARGE)
def _four_gigabytes(place: Place) -> bytes:
    return _poked(place, CENTRAL, 24, struct.pack("<I", 2**32 - 2))


@archived("64-bit sizes that are not there", UNREADABLE, LARGE)
def _sizes_missing(place: Place) -> bytes:
    return _poked(place, CENTRAL, 20, struct.pack("<II", 2**32 - 1, 2**32 - 1))


@archived("64-bit sizes of exabytes", LARGE)
def _sizes_lie(place: Place) -> bytes:
    info = zipfile.ZipInfo(WEIGHTS)
    info.extra = struct.pack("<HHQQ", 1, 16, 2**62, 2**62)
    data = bytearray(packed([*members(place)[:2], (info, place.weights_only())]))
    at = data.rindex(CENTRAL)
    data[at + 20 : at + 28] = struct.pack("<II", 2**32 - 1, 2**32 - 1)
    return bytes(data)


@archived("weights longer than the file", UNREADABLE)
def _too_long(place: Place) -> bytes:
    return _poked(place, CENTRAL, 20, struct.pack("<II", 1 << 20, 1 << 20))


@archived("weights shorter than they are", UNREADABLE)
def _too_short(place: Place) -> bytes:
    return _poked(place, CENTRAL, 20, struct.pack("<II", 1000, 1000))


@archived("a wrong checksum", UNREADABLE)
def _checksum(place: Place) -> bytes:
    return _poked(place, CENTRAL, 16, b"\0\0\0\0")


@archived("two names for one member", UNREADABLE)
def _two_names(place: Place) -> bytes:
    return _poked(place, LOCAL, 30, b"M")


@archived("all members in one place", UNREADABLE)
def _overlapping(place: Place) -> bytes:
    return _poked(place, CENTRAL, 42, struct.pack("<I", 0))


@archived("a list of members that is elsewhere", ARCHIVE, UNREADABLE)
def _directory(place: Place) -> bytes:
    return _poked(place, END, 16, struct.pack("<I", 2**31), which=0)


@archived("65,535 members by its end", UNREADABLE, "")
def _claimed(place: Place) -> bytes:
    return _poked(place, END, 8, struct.pack("<HH", 65535, 65535), which=0)


@archived("a version of the future", ARCHIVE)
def _future(place: Place) -> bytes:
    return _poked(place, CENTRAL, 6, b"\xff\0")
