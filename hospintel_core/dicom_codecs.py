"""Decoding the compressed picture of a DICOM file: pydicom's decoders where they are safe, else GDCM at arm's length.

A decoder is given the picture's bytes and a handful of numbers, nothing else of the file. What a stream says about
its own size is compared with the header first, because decoders allocate what the stream says.
"""

import contextlib
import json
import logging
import struct
import subprocess
import sys
import threading
import warnings
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, Final, cast

from hospintel_core import confine, dicom_child
from hospintel_core.errors import DicomError

log = logging.getLogger(__name__)

_JPEG_LS: Final = frozenset({"1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"})
_JPEG_2000: Final = frozenset({"1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"})
_JPEG_BASELINE: Final = "1.2.840.10008.1.2.4.50"
_JPEG_LOSSLESS: Final = frozenset({"1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"})
_RLE: Final = "1.2.840.10008.1.2.5"
_GDCM: Final = "gdcm"
_BYTE: Final = 8

# One decoder for each transfer syntax, so that every machine that reads a file sees the same pixels.
DECODERS: Final[dict[str, str]] = {
    _JPEG_BASELINE: "pillow",
    _RLE: "pydicom",
    **dict.fromkeys(_JPEG_LOSSLESS, _GDCM),
    **dict.fromkeys(_JPEG_2000, _GDCM),
    **dict.fromkeys(_JPEG_LS, _GDCM),
}
WALL_SECONDS: Final = 30.0
_ROOT: Final = str(Path(__file__).resolve().parents[1])
# -I leaves out what the environment says about Python's path; the code is where this file is.
_START: Final = "import sys; sys.path.insert(0, sys.argv[1]); from hospintel_core import dicom_child as c; c.main()"
_MARKER: Final = 0xFF
# SOF0 to SOF15 without DHT, JPG and DAC, which lie between them; SOF55 is JPEG-LS.
_FRAME_HEADERS: Final = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL, _LOSSLESS, _LS = 0xC0, 0xC3, 0xF7
_SOF: Final = struct.Struct(">BHHB")  # precision, rows, columns, components
_SIZ: Final = struct.Struct(">HHIIII16xHB")  # length, profile, right, bottom, left, top, tiles, components, precision
_RLE_HEADER: Final = struct.Struct("<16I")  # segments, where each of up to 15 starts
_RLE_NOTHING: Final = 128
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
    RuntimeError: the process for it did not work, for a reason that is not in the stream.
    """
    precision = _check_stream(syntax, stream, layout)
    if DECODERS[syntax] == _GDCM:
        found = _decode_apart(syntax, stream, layout, layout.stored if syntax in _JPEG_LOSSLESS else precision)
    else:
        found = _decode_here(syntax, stream, layout)
    if len(found) != layout.size:
        raise _undecodable()
    return found


def _decode_here(syntax: str, stream: bytes, layout: Layout) -> bytes:
    # Most files are not compressed, and pydicom is slow to load. It loads GDCM: dicom_child has loaded zlib before.
    from pydicom.encaps import encapsulate  # noqa: PLC0415
    from pydicom.pixels.decoders.base import get_decoder  # noqa: PLC0415

    options: dict[str, Any] = {
        "decoding_plugin": DECODERS[syntax],
        "rows": layout.rows,
        "columns": layout.columns,
        "bits_allocated": layout.allocated,
        "bits_stored": layout.stored,
        "pixel_representation": int(layout.signed),
        "samples_per_pixel": 1,
        "photometric_interpretation": "MONOCHROME2",
        "number_of_frames": 1,
        "pixel_keyword": "PixelData",
    }
    with _one_at_a_time, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        # pydicom logs the traceback of each failure; here it becomes one sentence.
        theirs = logging.getLogger("pydicom")
        before, theirs.propagate = theirs.propagate, False
        try:
            buffer, _ = get_decoder(syntax).as_buffer(
                encapsulate([stream], has_bot=False), raw=True, validate=False, **options
            )
        except MemoryError:
            raise
        except Exception as error:  # Pillow and pydicom, each with kinds of its own.
            raise _undecodable() from error
        finally:
            theirs.propagate = before
    for warning in told:
        log.warning("while a DICOM picture was decoded: %s", warning.message)
    return bytes(buffer)


def _decode_apart(syntax: str, stream: bytes, layout: Layout, precision: int) -> bytes:
    asked = {"syntax": syntax, "rows": layout.rows, "columns": layout.columns, "signed": layout.signed}
    asked |= {"allocated": layout.allocated, "precision": precision}
    with subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-I", "-c", _START, _ROOT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={"LANG": "C.UTF-8"},
    ) as process:
        stdin, stdout = cast("IO[bytes]", process.stdin), cast("IO[bytes]", process.stdout)
        timer = threading.Timer(WALL_SECONDS, process.kill)
        timer.start()
        try:
            with contextlib.suppress(BrokenPipeError), stdin:
                stdin.write(json.dumps(asked).encode() + b"\n")
                stdin.write(stream)
            found = stdout.read(layout.size + 1)
        finally:
            timer.cancel()
            # It is done, or says more than a picture.
            process.kill()
    if process.returncode > 0 and process.returncode not in {dicom_child.FAILED, confine.TRIPPED}:
        raise RuntimeError(f"The process that decodes DICOM pictures ended with {process.returncode}.")
    return found


def _check_stream(syntax: str, stream: bytes, layout: Layout) -> int:
    """Compare sizes; the bits of a sample that the stream speaks of, where it is a JPEG."""
    if syntax == _RLE:
        _check_rle(stream, layout)
        return layout.stored
    if syntax in _JPEG_2000:
        precision, *size = _jpeg_2000_header(stream)
    else:
        wanted = _SEQUENTIAL if syntax == _JPEG_BASELINE else _LS if syntax in _JPEG_LS else _LOSSLESS
        precision, *size = _jpeg_header(stream, wanted)
    if size != [layout.rows, layout.columns, 1] or not layout.stored <= precision <= layout.allocated:
        raise _undecodable()
    if syntax in _JPEG_LS and precision < _BYTE:
        # GDCM gets these wrong, says pydicom's decoder.
        raise _undecodable()
    return precision


def _check_rle(stream: bytes, layout: Layout) -> None:
    """A byte of an RLE stream may unpack to 64: each segment has to be one plane of bytes (PS3.5 Annex G)."""
    plane = layout.rows * layout.columns
    count, *starts = _RLE_HEADER.unpack_from(stream) if len(stream) >= _RLE_HEADER.size else (0,)
    if count != layout.allocated // 8:
        raise _undecodable()
    for start, end in pairwise([*starts[:count], len(stream)]):
        # Some pad a plane to an even number of bytes. No encoder makes it twice as long.
        if end - start > 2 * plane + _RLE_HEADER.size or _rle_size(stream, start, min(end, len(stream))) not in {
            plane,
            plane + plane % 2,
        }:
            raise _undecodable()


def _rle_size(stream: bytes, at: int, end: int) -> int:
    size = 0
    while at < end:
        head = stream[at]
        if head < _RLE_NOTHING:
            size += min(head + 1, end - at - 1)
            at += head + 2
        else:
            # 129 to 255 repeat the next byte 128 to 2 times.
            size += 257 - head if head > _RLE_NOTHING and at + 1 < end else 0
            at += 2 if head > _RLE_NOTHING else 1
    return size


def _jpeg_2000_header(stream: bytes) -> tuple[int, ...]:
    """Precision, rows, columns, components of a JPEG 2000 stream, whose size comes first (ISO 15444-1, A.5.1)."""
    if not stream.startswith(b"\xff\x4f\xff\x51") or len(stream) < 4 + _SIZ.size:
        return (0,)
    _, _, right, bottom, left, top, components, precision = _SIZ.unpack_from(stream, 4)
    # The highest bit is the sign's.
    return (precision & 0x7F) + 1, bottom - top, right - left, components


def _jpeg_header(stream: bytes, wanted: int) -> tuple[int, ...]:
    """Precision, rows, columns, components of a JPEG or JPEG-LS stream (ISO 10918-1, B.2.2) of the wanted process."""
    at = 2
    while stream.startswith(b"\xff\xd8") and at + 4 + _SOF.size <= len(stream) and stream[at] == _MARKER:
        kind = stream[at + 1]
        if kind in _FRAME_HEADERS:
            return _SOF.unpack_from(stream, at + 4) if kind == wanted else (0,)
        # A marker may be filled up with more of its first byte.
        at += 1 if kind == _MARKER else 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
    return (0,)


def _undecodable() -> DicomError:
    return DicomError("dicom_undecodable", "The compressed picture in the file is damaged, or not the one announced.")
