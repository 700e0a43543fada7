"""Headers full of identifiers: whatever becomes of a file, nothing of its header goes on."""

import logging
import random
import traceback

import numpy as np
import pytest
from dicom_files import element, grey_header, pixels_of, short
from pydicom.datadict import DicomDictionary, RepeatersDictionary

from hospintel_core.dicom_elements import ALLOWED
from hospintel_core.errors import CoreError
from hospintel_core.intake import read_scan

FILES = 300
WORD, DIGITS = b"SECRET", b"7731337"
TEXT = {"AE", "AS", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"}
NUMBERS = {"DA", "TM", "DT", "DS", "IS"}
LONG = {"OB", "OD", "OF", "OL", "OV", "OW", "SV", "UC", "UN", "UR", "UT", "UV"}
ITEM, ITEM_END, END = (bytes([0xFE, 0xFF, number, 0xE0]) for number in (0x00, 0x0D, 0xDD))
# Every element that the standard knows, but for those that make the picture and the file meta group.
PUBLIC = {
    tag: entry[0].split(" ")[0]
    for tag, entry in DicomDictionary.items()
    if 0x00080001 <= tag < 0x7FE00000 and tag not in ALLOWED and entry[0][:2] not in {"SQ", "NO"}
}
SEQUENCES = [
    tag for tag, entry in DicomDictionary.items() if entry[0] == "SQ" and tag not in ALLOWED and tag > 0x00080000
]


def value(kind, number):
    """A value of this kind that bears a mark."""
    if kind in TEXT:
        found = b"Doe^%s^%d" % (WORD, number)
    elif kind == "UI":
        found = b"1.2.826.%s.%d" % (DIGITS, number)
    elif kind in NUMBERS:
        found = b"%s%d" % (DIGITS, number)
    else:
        found = WORD + number.to_bytes(2, "little")
    return found + b" " * (len(found) % 2)


class Maker:
    """One file; each seed is another one."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.explicit = self.random.random() < 0.7
        self.identifiers = 0

    def element(self, tag, kind, content, length=None):
        if self.explicit:
            length = len(content) if length is None else length
            head = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little") + kind.encode()
            if kind in LONG or kind == "SQ":
                return head + bytes(2) + length.to_bytes(4, "little") + content
            return head + length.to_bytes(2, "little") + content
        length = len(content) if length is None else length
        head = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little")
        return head + length.to_bytes(4, "little") + content

    def identifier(self, tag, kind):
        self.identifiers += 1
        return self.element(tag, kind, value(kind, self.random.randrange(1000)))

    def public(self, count):
        return [self.identifier(tag, PUBLIC[tag]) for tag in self.random.sample(sorted(PUBLIC), count)]

    def private(self):
        group = self.random.randrange(0x0009, 0x00FF, 2)
        kinds = ["LO", "OB", "UN", "SH", "UI", "DS"]
        found = [self.identifier(group << 16 | 0x0010, "LO")]
        return found + [self.identifier(group << 16 | 0x1000 + n, kind) for n, kind in enumerate(kinds)]

    def overlay(self):
        group = self.random.choice([0x6000, 0x6002, 0x601E]) << 16
        return [self.identifier(group | 0x0022, "LO"), self.identifier(group | 0x3000, "OW")]

    def sequence(self, depth=0):
        inside = b"".join(self.public(3))
        if depth < 3:
            inside += self.sequence(depth + 1)
        tag = self.random.choice(SEQUENCES)
        if self.random.random() < 0.5:
            content = ITEM + len(inside).to_bytes(4, "little") + inside
            return self.element(tag, "SQ", content)
        content = ITEM + b"\xff\xff\xff\xff" + inside + ITEM_END + bytes(4) + END + bytes(4)
        return self.element(tag, "SQ", content, 0xFFFFFFFF)

    def own(self, tag, kind, content):
        return self.element(tag, kind, content + b" " * (len(content) % 2))

    def file(self):
        pixels = np.random.default_rng(self.random.randrange(1 << 30)).integers(0, 4096, (8, 8)).astype("<u2")
        header = grey_header(8, 8)
        if not self.explicit:
            # Numbers of group 0028 without their kind.
            header = [part[:4] + int.to_bytes(len(part) - 8, 4, "little") + part[8:] for part in header]
        header.append(self.own(0x00281050, "DS", b"2000"))
        header.append(self.own(0x00281051, "DS", b"4000"))
        fault = self.random.choice(FAULTS)
        header += fault(self)
        elements = [*self.public(110), *self.private(), *self.private(), *(self.sequence() for _ in range(4))]
        self.random.shuffle(elements)
        syntax = b"1.2.840.10008.1.2.1\0" if self.explicit else b"1.2.840.10008.1.2\0"
        meta = element(0x00020003, b"UI", value("UI", 1)) + element(0x00020010, b"UI", syntax)
        meta += element(0x00020013, b"SH", value("SH", 2)) + element(0x00020102, b"OB", value("OB", 3))
        body = b"".join([*elements, *header, *self.overlay()])
        picture = self.element(0x7FE00010, "OW", pixels.tobytes()) + self.identifier(0xFFFCFFFC, "OB")
        preamble = (WORD * 30)[:64] + (DIGITS * 30)[:64]
        whole = preamble + b"DICM" + meta + body + picture
        if fault is cut_short:
            whole = whole[: self.random.randrange(len(whole) // 2, len(whole) - 200)]
        return whole, fault in {whole_and_good, burned_in_is_odd}


def whole_and_good(maker):
    return []


def burned_in_is_odd(maker):
    return [maker.own(0x00280301, "CS", WORD)]


def window_is_odd(maker):
    return [maker.own(0x00281053, "DS", WORD)]


def function_is_odd(maker):
    return [maker.own(0x00281056, "CS", WORD)]


def frames_are_odd(maker):
    return [maker.own(0x00280008, "IS", DIGITS)]


def twice(maker):
    return [maker.own(0x00281050, "DS", DIGITS)]


def cut_short(maker):
    return []


FAULTS = [whole_and_good] * 6 + [burned_in_is_odd, window_is_odd, function_is_odd, frames_are_odd, twice, cut_short]


@pytest.fixture(autouse=True)
def everything_is_logged(caplog):
    caplog.set_level(logging.DEBUG)


def test_of_300_headers_full_of_identifiers_nothing_is_left(caplog, capfd, recwarn):
    read, codes, identifiers, told = 0, set(), 0, []
    for seed in range(FILES):
        maker = Maker(seed)
        data, good = maker.file()
        assert data.count(WORD) + data.count(DIGITS) > 40
        identifiers += maker.identifiers
        try:
            scan = read_scan(f"{seed}.dcm", data)
        except CoreError as error:
            assert not good
            codes.add(error.code)
            told += [repr(error), error.hint, "".join(traceback.format_exception(error)), repr(vars(error))]
        else:
            assert good
            read += 1
            told.append(repr(scan))
            assert WORD not in scan.png
            assert DIGITS not in scan.png
    assert read > 120
    assert codes >= {"dicom_damaged", "dicom_display", "dicom_frames"}
    assert identifiers > 100 * FILES
    output = capfd.readouterr()
    told += [caplog.text, output.out, output.err, *(str(warning.message) for warning in recwarn)]
    everything = "\n".join(told).encode()
    assert WORD not in everything
    assert DIGITS not in everything


def test_the_files_bear_every_kind_of_element():
    kinds = set(PUBLIC.values())
    assert kinds >= TEXT | NUMBERS | {"UI", "OB", "UN", "FD", "FL", "SL", "UL", "AT"} - {"UN"}
    assert len(PUBLIC) > 3500
    assert any(name.startswith("60xx") for name in RepeatersDictionary)


def test_only_elements_that_make_the_picture_are_read():
    assert {tag >> 16 for tag in ALLOWED} == {0x0002, 0x0028, 0x7FE0}
    assert len(ALLOWED) == 21


def test_what_a_picture_looks_like_depends_on_nothing_else():
    """The same pixels under two headers that share nothing are the same scan."""
    pixels = np.arange(64, dtype="<u2").reshape(8, 8)
    first, second = (Maker(seed) for seed in (1000, 1001))
    for maker in (first, second):
        maker.explicit = True
    scans = [
        read_scan(
            "a",
            bytes(128)
            + b"DICM"
            + element(0x00020010, b"UI", b"1.2.840.10008.1.2.1\0")
            + b"".join([*maker.public(50), maker.sequence(), *grey_header(8, 8), short(0x00281FFF, 3)])
            + pixels_of(pixels.tobytes()),
        )
        for maker in (first, second)
    ]
    assert scans[0] == scans[1]
