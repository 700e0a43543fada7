"""Zip files that mean no good."""

import contextlib
import io
import stat
import struct
import time
import warnings
import zipfile

import pytest
from test_bundle import code_of, items_of, png, zipped
from test_intake_hostile import MAX_GROWTH, read_apart
from test_intake_hostile import png as png_of_size

from hospintel_core.bundle import Refused
from hospintel_core.errors import DatasetError

GOOD = {"glioma/a.png": png(1), "notumor/b.png": png(2)}


def with_entry(name, data=b"x", **attributes):
    """A zip file of good scans and one more entry."""
    buffer = io.BytesIO(zipped(GOOD))
    entry = zipfile.ZipInfo(name)
    for key, value in attributes.items():
        setattr(entry, key, value)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(entry, data)
    return buffer.getvalue()


def twice():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(2):
            archive.writestr("glioma/a.png", png())
    return buffer.getvalue()


def nameless():
    """A zip file whose list has the only entry's name as one that is empty, and its letter as something extra."""
    found = bytearray(zipped({"X": b"x"}))
    at = found.index(b"PK\x01\x02") + 28
    found[at : at + 4] = struct.pack("<HH", 0, 1)
    return bytes(found)


def many(count):
    return zipped({f"glioma/{number}.png": b"" for number in range(count)})


def declared(data, size):
    """The same zip file, whose entries say that they unpack to ``size`` bytes."""
    found = bytearray(data)
    for magic, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = found.find(magic)
        while at >= 0:
            found[at + offset : at + offset + 4] = struct.pack("<I", size)
            at = found.find(magic, at + 4)
    return bytes(found)


def encrypted(data):
    found = bytearray(data)
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        found[found.index(magic) + offset] |= 1
    return bytes(found)


def long_list(count):
    """The end says that there are two entries; the list before it holds ``count``."""
    one = b"PK\x01\x02" + bytes(42)
    return one * count + b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 2, 2, len(one) * count, 0, 0)


def long_form():
    data = zipped(GOOD)
    at = data.rindex(b"PK\x05\x06")
    return data[:at] + b"PK\x06\x07" + bytes(16) + data[at:]


def overlapping():
    """Every entry of the list is the same bytes (D. Fifield, A better zip bomb)."""
    data = zipped({"glioma/a.png": bytes(900_000)})
    start = data.index(b"PK\x01\x02")
    end = data.rindex(b"PK\x05\x06")
    entry = data[start:end]
    entries = b"".join(entry.replace(b"a.png", b"%05d" % number) for number in range(1500))
    tail = struct.pack("<HHHHIIH", 0, 0, 1500, 1500, len(entries), start, 0)
    return data[:start] + entries + b"PK\x05\x06" + tail


LINK = {"external_attr": (stat.S_IFLNK | 0o777) << 16, "create_system": 3}
WHOLE = {
    "not a zip": ("dataset_unreadable", lambda: b"GIF89a"),
    "the magic alone": ("dataset_unreadable", lambda: b"PK\x03\x04"),
    "the end alone, cut": ("dataset_unreadable", lambda: b"PK\x05\x06"),
    "cut short": ("dataset_unreadable", lambda: zipped(GOOD)[:-30]),
    "a list that is no list": ("dataset_unreadable", lambda: zipped(GOOD).replace(b"PK\x01\x02", b"PK\x01\x01")),
    "up and out": ("unsafe_entry", lambda: with_entry("../SECRET.png")),
    "up inside": ("unsafe_entry", lambda: with_entry("glioma/../../SECRET.png")),
    "absolute": ("unsafe_entry", lambda: with_entry("/etc/SECRET")),
    "a drive": ("unsafe_entry", lambda: with_entry("C:/SECRET.png")),
    "another system's slashes": ("unsafe_entry", lambda: with_entry("glioma\\..\\SECRET.png")),
    "a name with a NUL": ("unsafe_entry", lambda: zipped({"glioma/a.pngXb": b"x"}).replace(b"pngXb", b"png\0b")),
    "no name": ("unsafe_entry", nameless),
    "the name of this folder": ("unsafe_entry", lambda: with_entry(".")),
    "a link": ("unsafe_entry", lambda: with_entry("glioma/SECRET.png", b"/etc/passwd", **LINK)),
    "the same name twice": ("duplicate_entry", twice),
    "the same name spelled twice": ("duplicate_entry", lambda: with_entry("glioma//a.png")),
    "2,001 entries": ("too_many_entries", lambda: many(2001)),
    "ten thousand entries": ("too_many_entries", lambda: many(10_000)),
    "a million entries that the end does not count": ("too_many_entries", lambda: long_list(1_000_000)),
    "the long form": ("too_many_entries", long_form),
    "a bomb by its ratio": ("entry_too_large", lambda: zipped({"glioma/a.png": bytes(20 << 20)})),
    "a declared bomb": ("archive_too_large", lambda: declared(zipped(GOOD), 0xFFFFFFF0)),
    "entries over each other": ("archive_too_large", overlapping),
    "a folder that is no class": ("unknown_class", lambda: with_entry("SECRET/a.png")),
    "nothing": ("no_scans", lambda: zipped({})),
}


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_a_hostile_zip_is_refused_before_anything_is_unpacked(name):
    code, make = WHOLE[name]
    assert code_of(make()) == code


ENTRY = {
    "encrypted": ("entry_encrypted", lambda: encrypted(zipped({"glioma/a.png": png()}))),
    "another compression": ("entry_compression", lambda: zipped({"glioma/a.png": png()}, zipfile.ZIP_LZMA)),
    "a zip inside": ("entry_nested", lambda: zipped({"glioma/a.png": zipped(GOOD)})),
    "a zip of zips of zips": (
        "entry_nested",
        lambda: zipped({"glioma/a.png": zipped({"b": zipped({"c": zipped({})})})}),
    ),
    "more than it says": ("scan_unreadable", lambda: declared(zipped({"glioma/a.png": bytes(900_000)}), 500)),
    "less than it says": ("scan_unreadable", lambda: declared(zipped({"glioma/a.png": png()}), 9_000)),
    "over the limit for one": (
        "entry_too_large",
        lambda: zipped({"glioma/a.png": bytes(33 << 20)}, zipfile.ZIP_STORED),
    ),
    "an image bomb": ("image_too_large", lambda: zipped({"glioma/a.png": png_of_size(30_000, 30_000)})),
    "no image": ("image_mismatch", lambda: zipped({"glioma/a.png": b"MZ" + bytes(300)})),
    "empty": ("image_empty", lambda: zipped({"glioma/a.png": b""})),
}


@pytest.mark.parametrize("name", sorted(ENTRY))
def test_a_hostile_entry_is_refused_alone(name):
    code, make = ENTRY[name]
    items, _ = items_of(make())
    assert [item.code for item in items if isinstance(item, Refused)] == [code]


def test_the_scans_beside_a_hostile_entry_are_taken():
    items, _ = items_of(with_entry("glioma/z.png", b"not an image"))
    assert [getattr(item, "code", "") for item in items] == ["", "image_mismatch", ""]


def test_ten_thousand_entries_are_refused_at_once():
    data = many(10_000)
    started = time.process_time()
    assert code_of(data) == "too_many_entries"
    assert time.process_time() - started < 1


def test_a_damaged_list_is_read_or_refused_wherever_it_is_damaged():
    data = zipped(GOOD)
    for at in range(len(data)):
        damaged = data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]
        with contextlib.suppress(DatasetError):
            assert items_of(damaged)


@pytest.mark.parametrize("name", ["a million entries that the end does not count", "entries over each other"])
def test_a_hostile_list_takes_bounded_memory(name, tmp_path):
    code, make = WHOLE[name]
    ((found, grown, _),) = read_apart("zip", tmp_path, [make()])
    assert found == code
    assert grown < MAX_GROWTH


def test_a_zip_of_full_size_is_read_one_scan_at_a_time(tmp_path):
    """300 entries of 1 MiB each: no more than one is in memory."""
    data = zipped({f"glioma/{number}.png": bytes([number % 256]) * (1 << 20) for number in range(300)})
    ((found, grown, _),) = read_apart("zip", tmp_path, [data])
    assert found == ["image_mismatch"]
    assert grown < MAX_GROWTH / 10
