"""From stored DICOM samples to grey levels as on a viewing station: DICOM PS3.3 C.11.1, C.11.2 and PS3.4 N.2.

A sample has at most 16 bits, so that every step is one table with an entry for each value a sample can have.
"""

import re
from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from hospintel_core import dicom_elements as dcm
from hospintel_core.dicom_codecs import Layout
from hospintel_core.errors import DicomError

Floats = npt.NDArray[np.float64]
_BYTE, _MOST_BITS = 8, 16
_DESCRIPTOR, _SHORT = 6, 2  # bytes
_DECIMAL: Final = re.compile(rb" *[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})? *\0?")


def grey_table(elements: dcm.Elements, layout: Layout, used: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Grey level 0..255 for each of the 2**stored bit patterns of a sample, (2**stored,) uint8.

    ``used`` (2**stored,) says which patterns occur: a picture without a window or table for display is spread over
    them, from the least value to the greatest, padding left out; 8-bit samples without a rescale are taken as
    they are. Of several windows the first one counts, and a table comes before a window.
    Raises DicomError: dicom_display.
    """
    stored = _stored_values(layout)
    values = _modality(elements, stored)
    share = _voi(elements, values)
    if share is None and layout.stored == _BYTE and not layout.signed and values is stored:
        share = stored / 255
    padding = _padding(elements, layout, stored)
    if share is None:
        share = _spread(values, used & ~padding)
    # Half up: a level does not depend on whether its neighbour is even.
    grey = np.floor(share * 255 + 0.5)
    grey[padding] = 0
    if elements.values[dcm.PHOTOMETRIC].strip(b" \0") == b"MONOCHROME1":
        grey = 255 - grey
        grey[padding] = 0
    return grey.astype(np.uint8)


def decimals(raw: bytes) -> list[float]:
    """The numbers of a DS or IS value; empty where it is. Raises DicomError: dicom_display."""
    parts = raw.strip(b" \0").split(b"\\")
    if parts == [b""]:
        return []
    if not all(_DECIMAL.fullmatch(part) for part in parts):
        raise _unusable()
    numbers = [float(part.strip(b" \0")) for part in parts]
    if not np.isfinite(numbers).all():
        raise _unusable()
    return numbers


def _stored_values(layout: Layout) -> Floats:
    patterns = np.arange(2**layout.stored, dtype=np.float64)
    return np.where(patterns >= patterns.size / 2, patterns - patterns.size, patterns) if layout.signed else patterns


def _modality(elements: dcm.Elements, stored: Floats) -> Floats:
    """The values that windows speak of; ``stored`` itself where nothing changes them."""
    table = elements.tables.get(dcm.MODALITY_LUT)
    if table:
        return _look_up(table, stored)[0]
    slope = _one(elements.values, dcm.RESCALE_SLOPE, 1.0)
    intercept = _one(elements.values, dcm.RESCALE_INTERCEPT, 0.0)
    if slope == 0:
        raise _unusable()
    if (slope, intercept) == (1.0, 0.0):
        return stored
    with np.errstate(over="ignore"):
        values = stored * slope + intercept
    if not np.isfinite(values).all():
        raise _unusable()
    return values


def _voi(elements: dcm.Elements, values: Floats) -> Floats | None:
    """Shares 0..1 of full brightness by the table or the window for display; None where there is neither."""
    table = elements.tables.get(dcm.VOI_LUT)
    if table:
        entries, most = _look_up(table, values)
        return np.clip(entries / most, 0, 1)
    centers = decimals(elements.values.get(dcm.WINDOW_CENTER, b""))
    widths = decimals(elements.values.get(dcm.WINDOW_WIDTH, b""))
    if not centers or not widths:
        return None
    center, width = centers[0], widths[0]
    function = elements.values.get(dcm.VOI_FUNCTION, b"").strip(b" \0") or b"LINEAR"
    if function == b"LINEAR" and width >= 1:
        # PS3.3 C.11.2.1.2.1; a width of 1 is a threshold.
        share = (values - (center - 0.5)) / (width - 1) + 0.5 if width > 1 else values - (center - 0.5) > 0
    elif function == b"LINEAR_EXACT" and width > 0:
        share = (values - center) / width + 0.5
    elif function == b"SIGMOID" and width > 0:
        share = 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700)))
    else:
        raise _unusable()
    return np.clip(np.asarray(share, dtype=np.float64), 0, 1)


def _look_up(table: Mapping[int, bytes], values: Floats) -> tuple[Floats, float]:
    """Look ``values`` up as PS3.3 C.11.1.1.1 and C.11.2.1.1 say; also the greatest entry that the table could have.

    What lies below the first value gets the first entry, what lies above the last value the last one.
    """
    descriptor, data = table.get(dcm.LUT_DESCRIPTOR, b""), table.get(dcm.LUT_DATA, b"")
    if len(descriptor) != _DESCRIPTOR:
        raise _unusable()
    count, _, bits = (int(number) for number in np.frombuffer(descriptor, "<u2"))
    count = count or 65536
    # The first value is signed where the values are, and no table of ours starts above 32767 otherwise.
    first = int(np.frombuffer(descriptor, "<i2" if values.min() < 0 else "<u2")[1])
    sizes = {2 * count, count + count % 2} if bits == _BYTE else {2 * count}
    if not _BYTE <= bits <= _MOST_BITS or len(data) not in sizes:
        raise _unusable()
    entries = np.frombuffer(data, "<u2" if len(data) == 2 * count else "u1")[:count].astype(np.float64)
    if entries.max() >= 2**bits:
        raise _unusable()
    places = np.clip(np.floor(values) - first, 0, count - 1).astype(np.int64)
    return entries[places], float(2**bits - 1)


def _spread(values: Floats, used: npt.NDArray[np.bool_]) -> Floats:
    if not used.any():
        return np.zeros_like(values)
    low, high = values[used].min(), values[used].max()
    return np.clip((values - low) / (high - low), 0, 1) if high > low else np.zeros_like(values)


def _padding(elements: dcm.Elements, layout: Layout, stored: Floats) -> npt.NDArray[np.bool_]:
    """Patterns that stand for "no picture here" (PS3.3 C.7.5.1.1.2): always black."""
    values = [elements.values.get(tag, b"") for tag in (dcm.PADDING, dcm.PADDING_LIMIT)]
    ends = [int.from_bytes(value, "little", signed=layout.signed) for value in values if len(value) == _SHORT]
    if len(values[0]) != _SHORT:
        return np.zeros(stored.size, np.bool_)
    return (stored >= min(ends)) & (stored <= max(ends))


def _one(values: Mapping[int, bytes], tag: int, otherwise: float) -> float:
    numbers = decimals(values.get(tag, b""))
    if len(numbers) > 1:
        raise _unusable()
    return numbers[0] if numbers else otherwise


def _unusable() -> DicomError:
    return DicomError("dicom_display", "What the file says about its grey levels cannot be applied.")
