"""A single-frame grey DICOM file as the picture that a viewing station would show (docs/scans.md)."""

import numpy as np
import numpy.typing as npt
from PIL import Image

from hospintel_core import dicom_elements as dcm
from hospintel_core.dicom_codecs import DECODERS, Layout, decode
from hospintel_core.dicom_display import decimals, grey_table
from hospintel_core.errors import DicomError, ImageError

# Rows are worked on in groups of about so many samples: an index into a table takes eight bytes a sample.
_AT_ONCE = 1 << 20
_SHORT = 2


def read_dicom(data: bytes, max_pixels: int) -> Image.Image:
    """Decode a DICOM file into a grey image (mode L): rescale, window or table, MONOCHROME1 inverted.

    Only elements of ``dicom_elements.ALLOWED`` are read; overlays, the preamble and all else play no part.
    Raises DicomError: dicom_damaged, dicom_syntax, dicom_no_pixels, dicom_frames, dicom_colour, dicom_burned_in,
    dicom_pixels, dicom_length, dicom_display, dicom_undecodable. ImageError: image_too_large.
    """
    elements = dcm.read_elements(data)
    _check_kind(elements)
    layout = _layout(elements, max_pixels)
    if elements.syntax in DECODERS:
        raw: bytes | memoryview = decode(elements.syntax, b"".join(elements.pixels), layout)
    else:
        raw = elements.pixels[0]
        if len(raw) not in {layout.size, layout.size + layout.size % 2}:
            raise DicomError("dicom_length", "The picture has more or fewer bytes than its size needs.")
    samples = np.frombuffer(raw, f"<u{layout.allocated // 8}", layout.rows * layout.columns)
    return Image.fromarray(_to_grey(elements, layout, samples.reshape(layout.rows, layout.columns)))


def _check_kind(elements: dcm.Elements) -> None:
    frames = decimals(elements.values.get(dcm.FRAMES, b""))
    if frames not in ([], [1.0]):
        raise DicomError("dicom_frames", "The file holds several pictures.", "Export each slice as a file of its own.")
    photometric = elements.values.get(dcm.PHOTOMETRIC, b"").strip(b" \0")
    if photometric not in {b"MONOCHROME1", b"MONOCHROME2"} or _number(elements, dcm.SAMPLES) != 1:
        raise DicomError(
            "dicom_colour", "The picture is not grey: a screenshot or a colour map, not a scan.", "Export the scan."
        )
    if elements.values.get(dcm.BURNED_IN, b"").strip(b" \0").upper() == b"YES":
        raise DicomError("dicom_burned_in", "The file says that text about the patient is drawn into the picture.")


def _layout(elements: dcm.Elements, max_pixels: int) -> Layout:
    tags = (dcm.ROWS, dcm.COLUMNS, dcm.BITS_ALLOCATED, dcm.BITS_STORED, dcm.HIGH_BIT, dcm.SIGNED)
    rows, columns, allocated, stored, high, signed = (_number(elements, tag) for tag in tags)
    if not rows or not columns:
        raise DicomError("dicom_pixels", "The picture has no pixels.")
    if rows * columns > max_pixels:
        raise ImageError("image_too_large", f"The picture has more than {max_pixels:,} pixels.")
    if allocated not in {8, 16} or not 1 < stored <= allocated or high != stored - 1 or signed > 1:
        raise DicomError("dicom_pixels", "The samples are not whole numbers of 2 to 16 bits in the usual place.")
    return Layout(rows, columns, allocated, stored, bool(signed))


def _number(elements: dcm.Elements, tag: int) -> int:
    raw = elements.values.get(tag, b"")
    if len(raw) != _SHORT:
        raise DicomError("dicom_pixels", "The file does not say how its picture is built.")
    return int.from_bytes(raw, "little")


def _to_grey(elements: dcm.Elements, layout: Layout, samples: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint8]:
    """Bits above the stored ones hold overlays in old files: they are cut off first."""
    mask = samples.dtype.type(2**layout.stored - 1)
    step = max(1, _AT_ONCE // layout.columns)
    used = np.zeros(2**layout.stored, np.bool_)
    for start in range(0, layout.rows, step):
        used[samples[start : start + step] & mask] = True
    table = grey_table(elements, layout, used)
    grey = np.empty(samples.shape, np.uint8)
    for start in range(0, layout.rows, step):
        grey[start : start + step] = table[samples[start : start + step] & mask]
    return grey
