"""Decoding the compressed picture of a DICOM file, with pydicom's decoders on top of GDCM and Pillow.

A decoder is given the picture's bytes and a handful of numbers, nothing else of the file. What a stream says about
its own size is compared with the header first, because decoders allocate what the stream says.
"""

import logging
import struct
import threading
import warnings
from dataclasses import dataclass
from typing import Final, cast

from hospintel_core.errors import DicomError

log = logging.getLogger(__name__)

_JPEG_LS: Final = frozenset({"1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"})
_JPEG_2000: Final = frozenset({"1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"})
_JPEG_BASELINE: Final = "1.2.840.10008.1.2.4.50"
_JPEG_LOSSLESS: Final = frozenset({"1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"})
_RLE: Final = "1.2.840.10008.1.2.5"

# One decoder for each transfer syntax, so that every machine that reads a file sees the same pixels.
DECODERS: Final[dict[str, str]] = {
    _JPEG_BASELINE: "pillow",
    **dict.fromkeys(_JPEG_LOSSLESS, "gdcm"),
    **dict.fromkeys(_JPEG_LS, "gdcm"),
    **dict.fromkeys(_JPEG_2000, "gdcm"),
    _RLE: "pydicom",
}
_MARKER: Final = 0xFF
# SOF0 to SOF15 without DHT, JPG and DAC, which lie between them; SOF55 is JPEG-LS.
_FRAME_HEADERS: Final = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
_SOF: Final = struct.Struct(">HHB")  # rows, columns, components
_SIZ: Final = struct.Struct(">HHIIIIxxxxxxxxxxxxxxxxH")  # length, profile, right, bottom, left, top, tiles, components
# warnings.catch_warnings changes the state of the whole process.
_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class Layout:
    """How the samples of a grey picture lie: ``allocated`` is 8 or 16 bits, of which the low ``stored`` count."""

    rows: int
    columns: int
    allocated: int
    stored: int
    signed: bool

    @property
    def size(self) -> int:
        """Bytes of the decoded picture."""
        return self.rows * self.columns * self.allocated // 8


def decode(syntax: str, stream: bytes, layout: Layout) -> bytes:
    """Decode one compressed frame into little-endian samples of ``layout``.

    Raises DicomError: dicom_undecodable, also where the stream's own size is not the header's.
    """
    # Most files are not compressed, and pydicom is slow to load.
    from pydicom.encaps import encapsulate  # noqa: PLC0415
    from pydicom.pixels.decoders.base import get_decoder  # noqa: PLC0415

    _check_stream(syntax, stream, layout)
    with _one_at_a_time, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        # The traceback of each failure goes to pydicom's logger; here it becomes one sentence.
        theirs = logging.getLogger("pydicom")
        before, theirs.disabled = theirs.disabled, True
        try:
            buffer, facts = get_decoder(syntax).as_buffer(
                encapsulate([stream], has_bot=False),
                raw=True,
                validate=False,
                decoding_plugin=DECODERS[syntax],
                rows=layout.rows,
                columns=layout.columns,
                bits_allocated=layout.allocated,
                bits_stored=layout.stored,
                pixel_representation=int(layout.signed),
                samples_per_pixel=1,
                photometric_interpretation="MONOCHROME2",
                number_of_frames=1,
                pixel_keyword="PixelData",
            )
        except MemoryError:
            raise
        except Exception as error:  # Three libraries, each with kinds of its own.
            raise _undecodable() from error
        finally:
            theirs.disabled = before
    for warning in told:
        log.warning("while a DICOM picture was decoded: %s", warning.message)
    if facts["bits_allocated"] != layout.allocated or len(buffer) != layout.size:
        raise _undecodable()
    return bytes(buffer)


def _check_stream(syntax: str, stream: bytes, layout: Layout) -> None:
    if syntax == _RLE:
        return
    size = _jpeg_2000_size(stream) if syntax in _JPEG_2000 else _jpeg_size(stream)
    if size != (layout.rows, layout.columns, 1):
        raise _undecodable()


def _jpeg_2000_size(stream: bytes) -> tuple[int, int, int] | None:
    """Rows, columns, components of a JPEG 2000 stream, whose size comes first (ISO 15444-1, A.5.1)."""
    if not stream.startswith(b"\xff\x4f\xff\x51") or len(stream) < 4 + _SIZ.size:
        return None
    _, _, right, bottom, left, top, components = _SIZ.unpack_from(stream, 4)
    return bottom - top, right - left, components


def _jpeg_size(stream: bytes) -> tuple[int, int, int] | None:
    """Rows, columns, components of a JPEG or JPEG-LS stream, from its frame header (ISO 10918-1, B.2.2)."""
    at = 2
    while stream.startswith(b"\xff\xd8") and at + 4 + _SOF.size <= len(stream) and stream[at] == _MARKER:
        kind = stream[at + 1]
        if kind in _FRAME_HEADERS:
            return cast("tuple[int, int, int]", _SOF.unpack_from(stream, at + 5))
        # A marker may be filled up with more of its first byte.
        at += 1 if kind == _MARKER else 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
    return None


def _undecodable() -> DicomError:
    return DicomError("dicom_undecodable", "The compressed picture in the file is damaged, or not the one announced.")
