"""The few elements of a DICOM file that make its picture, and nothing else.

All others are stepped over by their lengths: no name, date or number of a patient is ever turned into an object, so
none can reach an error, a log or what is stored (docs/decisions/0012-dicom.md). Layout: DICOM PS3.5 section 7, PS3.10.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from hospintel_core.dicom_codecs import DECODERS
from hospintel_core.errors import DicomError

PREAMBLE: Final = 128
MAGIC: Final = b"DICM"
MAX_ELEMENTS: Final = 100_000
MAX_DEPTH: Final = 16
MAX_VALUE: Final = 1024

TRANSFER_SYNTAX: Final = 0x0002_0010
SAMPLES: Final = 0x0028_0002
PHOTOMETRIC: Final = 0x0028_0004
FRAMES: Final = 0x0028_0008
ROWS: Final = 0x0028_0010
COLUMNS: Final = 0x0028_0011
BITS_ALLOCATED: Final = 0x0028_0100
BITS_STORED: Final = 0x0028_0101
HIGH_BIT: Final = 0x0028_0102
SIGNED: Final = 0x0028_0103
PADDING: Final = 0x0028_0120
PADDING_LIMIT: Final = 0x0028_0121
BURNED_IN: Final = 0x0028_0301
WINDOW_CENTER: Final = 0x0028_1050
WINDOW_WIDTH: Final = 0x0028_1051
RESCALE_INTERCEPT: Final = 0x0028_1052
RESCALE_SLOPE: Final = 0x0028_1053
VOI_FUNCTION: Final = 0x0028_1056
MODALITY_LUT: Final = 0x0028_3000
LUT_DESCRIPTOR: Final = 0x0028_3002
LUT_DATA: Final = 0x0028_3006
VOI_LUT: Final = 0x0028_3010
PIXELS: Final = 0x7FE0_0010

# What each element may be encoded as (PS3.6); an explicit file that says otherwise is not believed.
ALLOWED: Final[dict[int, frozenset[bytes]]] = {
    tag: frozenset(kinds)
    for tag, kinds in {
        TRANSFER_SYNTAX: (b"UI",),
        SAMPLES: (b"US",),
        PHOTOMETRIC: (b"CS",),
        FRAMES: (b"IS",),
        ROWS: (b"US",),
        COLUMNS: (b"US",),
        BITS_ALLOCATED: (b"US",),
        BITS_STORED: (b"US",),
        HIGH_BIT: (b"US",),
        SIGNED: (b"US",),
        PADDING: (b"US", b"SS"),
        PADDING_LIMIT: (b"US", b"SS"),
        BURNED_IN: (b"CS",),
        WINDOW_CENTER: (b"DS",),
        WINDOW_WIDTH: (b"DS",),
        RESCALE_INTERCEPT: (b"DS",),
        RESCALE_SLOPE: (b"DS",),
        VOI_FUNCTION: (b"CS",),
        MODALITY_LUT: (b"SQ",),
        VOI_LUT: (b"SQ",),
        PIXELS: (b"OB", b"OW"),
    }.items()
}
_OF_A_TABLE: Final = {
    LUT_DESCRIPTOR: frozenset({b"US", b"SS"}),
    LUT_DATA: frozenset({b"US", b"OW"}),
}
_LONG: Final = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_UNDEFINED: Final = 0xFFFF_FFFF
_META: Final = b"\x02\x00"
_DELIMITERS: Final = 0xFFFE
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFE_E000, 0xFFFE_E00D, 0xFFFE_E0DD
_IMPLICIT: Final = "1.2.840.10008.1.2"
_EXPLICIT: Final = "1.2.840.10008.1.2.1"


@dataclass(frozen=True)
class Elements:
    """``values``: what the allowed elements hold, raw. ``tables``: the look-up tables' elements, the same.

    ``pixels`` are the pieces of the picture: one where it is not compressed.
    """

    syntax: str
    values: dict[int, bytes] = field(default_factory=dict)
    tables: dict[int, dict[int, bytes]] = field(default_factory=dict)
    pixels: tuple[memoryview, ...] = ()


def is_dicom(data: bytes) -> bool:
    """Tell a DICOM file by its magic at byte 128; what the 128 bytes before hold never matters."""
    return data[PREAMBLE : PREAMBLE + len(MAGIC)] == MAGIC


def read_elements(data: bytes) -> Elements:
    """Walk through a DICOM file and take the allowed elements of its top level.

    Raises DicomError: dicom_damaged (also for an allowed element that is there twice), dicom_syntax, dicom_no_pixels.
    """
    return _Walk(data).read()


@dataclass(frozen=True)
class _Element:
    tag: int
    kind: bytes  # b"" in implicit files, which do not say it
    start: int
    length: int


class _Walk:
    def __init__(self, data: bytes) -> None:
        self.data = memoryview(data)
        self.position = PREAMBLE + len(MAGIC)
        self.count = 0

    def read(self) -> Elements:
        syntax = self._meta()
        if syntax not in {_IMPLICIT, _EXPLICIT, *DECODERS}:
            raise DicomError(
                "dicom_syntax",
                "The file is encoded in a way that is not read here.",
                "Export it uncompressed, or as JPEG, JPEG-LS, JPEG 2000 or RLE.",
            )
        self.explicit = syntax != _IMPLICIT
        found = Elements(syntax)
        for element in self._elements(len(self.data), explicit=self.explicit):
            kinds = ALLOWED.get(element.tag)
            if kinds is None:
                self._skip(element, explicit=self.explicit, depth=0)
                continue
            self._check(element, kinds, seen=element.tag in found.values or element.tag in found.tables)
            if element.tag == PIXELS:
                return self._with_pixels(found, element)
            if element.tag in {MODALITY_LUT, VOI_LUT}:
                found.tables[element.tag] = self._table(element)
            else:
                found.values[element.tag] = self._value(element, MAX_VALUE)
        raise DicomError("dicom_no_pixels", "The file holds no picture.")

    def _with_pixels(self, found: Elements, element: _Element) -> Elements:
        """What comes after the pixels by the standard's order is padding and signatures; it is not looked at."""
        compressed = found.syntax in DECODERS
        if compressed != (element.length == _UNDEFINED):
            raise _damaged()
        pieces = tuple(self._fragments()) if compressed else (self._take(element.length),)
        return Elements(found.syntax, found.values, found.tables, pieces)

    def _meta(self) -> str:
        """The transfer syntax of the file meta group, which is always explicit and little endian."""
        syntax: str | None = None
        while bytes(self.data[self.position : self.position + 2]) == _META:
            element = self._header(explicit=True)
            if element.tag == TRANSFER_SYNTAX:
                self._check(element, ALLOWED[TRANSFER_SYNTAX], seen=syntax is not None)
                syntax = self._value(element, 64).rstrip(b"\0 ").decode("latin-1")
            else:
                self._skip(element, explicit=True, depth=0)
        if not syntax:
            raise DicomError("dicom_syntax", "The file does not say how it is encoded.")
        return syntax

    def _elements(self, end: int, *, explicit: bool) -> Iterator[_Element]:
        """Headers up to ``end``, or to an item's end; whoever takes one moves on to the end of its value."""
        while self.position < end:
            element = self._header(explicit=explicit)
            if element.tag == _ITEM_END:
                return
            if element.length != _UNDEFINED and element.start + element.length > end:
                raise _damaged()
            yield element

    def _header(self, *, explicit: bool) -> _Element:
        self.count += 1
        if self.count > MAX_ELEMENTS:
            raise DicomError("dicom_damaged", f"The file has more than {MAX_ELEMENTS:,} elements.")
        group, number = self._unpack("<HH", 4)
        tag = group << 16 | number
        kind = b""
        if group == _DELIMITERS or not explicit:
            (length,) = self._unpack("<I", 4)
        else:
            kind = bytes(self._take(2))
            if not (kind.isalpha() and kind.isupper()):
                raise _damaged()
            if kind in _LONG:
                self._take(2)
                (length,) = self._unpack("<I", 4)
            else:
                (length,) = self._unpack("<H", 2)
        return _Element(tag, kind, self.position, length)

    def _skip(self, element: _Element, *, explicit: bool, depth: int) -> None:
        if element.length != _UNDEFINED:
            self._take(element.length)
            return
        if depth >= MAX_DEPTH:
            raise DicomError("dicom_damaged", f"The file is nested more than {MAX_DEPTH} levels deep.")
        # An unknown kind of undefined length is a sequence in implicit form (PS3.5 section 6.2.2).
        inner = explicit and element.kind != b"UN"
        for item in self._items():
            if item.length != _UNDEFINED:
                self._take(item.length)
                continue
            for below in self._elements(len(self.data), explicit=inner):
                self._skip(below, explicit=inner, depth=depth + 1)

    def _items(self) -> Iterator[_Element]:
        """The items of a sequence of undefined length, up to its end."""
        while True:
            item = self._header(explicit=False)
            if item.tag == _SEQUENCE_END:
                return
            if item.tag != _ITEM:
                raise _damaged()
            yield item

    def _table(self, sequence: _Element) -> dict[int, bytes]:
        """The descriptor and the data of the first look-up table; empty where the sequence is."""
        end = len(self.data) if sequence.length == _UNDEFINED else sequence.start + sequence.length
        found: dict[int, bytes] = {}
        first = True
        while self.position < end:
            item = self._header(explicit=False)
            if item.tag == _SEQUENCE_END and sequence.length == _UNDEFINED:
                return found
            if item.tag != _ITEM:
                raise _damaged()
            inside = end if item.length == _UNDEFINED else self.position + item.length
            if inside > end:
                raise _damaged()
            for element in self._elements(inside, explicit=self.explicit):
                kinds = _OF_A_TABLE.get(element.tag)
                if first and kinds is not None:
                    self._check(element, kinds, seen=element.tag in found)
                    found[element.tag] = self._value(element, 2 * 65536)
                else:
                    self._skip(element, explicit=self.explicit, depth=1)
            first = False
        if sequence.length == _UNDEFINED:
            raise _damaged()
        return found

    def _fragments(self) -> Iterator[memoryview]:
        """The pieces of a compressed picture, without the table of offsets before them."""
        for number, item in enumerate(self._items()):
            if item.length == _UNDEFINED:
                raise _damaged()
            piece = self._take(item.length)
            if number > 0:
                yield piece

    def _check(self, element: _Element, kinds: frozenset[bytes], *, seen: bool) -> None:
        if seen or (element.kind and element.kind not in kinds):
            raise _damaged()

    def _value(self, element: _Element, most: int) -> bytes:
        if element.length > most:
            raise _damaged()
        return bytes(self._take(element.length))

    def _unpack(self, form: str, size: int) -> tuple[int, ...]:
        return struct.unpack(form, self._take(size))

    def _take(self, size: int) -> memoryview:
        end = self.position + size
        if end > len(self.data):
            raise DicomError("dicom_damaged", "The file is cut short.")
        taken = self.data[self.position : end]
        self.position = end
        return taken


def _damaged() -> DicomError:
    return DicomError("dicom_damaged", "The file is not built as DICOM says.")
