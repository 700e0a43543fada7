"""From a scan's file to the pixels that every model sees: the same on every machine.

Files come from hospital systems and from the web, so nothing is decoded before format and size have been read
from the header, and whatever a decoder raises ends as an ImageError.
"""

import hashlib
import io
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, JpegImagePlugin, PngImagePlugin

from hospintel_core.architectures import Architecture
from hospintel_core.dicom import read_dicom
from hospintel_core.dicom_elements import is_dicom
from hospintel_core.errors import ImageError
from hospintel_core.files import open_regular

MAX_PIXELS = 25_000_000
MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_PASSES = 100
_JPEG, _PASS = b"\xff\xd8\xff", b"\xff\xda"
_READERS: dict[bytes, type[PngImagePlugin.PngImageFile | JpegImagePlugin.JpegImageFile]] = {
    b"\x89PNG\r\n\x1a\n": PngImagePlugin.PngImageFile,
    _JPEG: JpegImagePlugin.JpegImageFile,
}
_TWELVE_BITS = 4096
_AT_ONCE = 1 << 20


def content_digest(data: bytes) -> str:
    """SHA-256 of a scan's file, hex: its identity in caches, splits and reports."""
    return hashlib.sha256(data).hexdigest()


def read_scan(source: Path | bytes) -> Image.Image:
    """Decode a PNG, JPEG or DICOM file into an upright RGB image; the type is told by the content, not by the name.

    16-bit grey becomes 8-bit, transparency is laid on black, EXIF orientation is applied, colour profiles are not.
    Raises ImageError: image_format (none of these), image_empty (no bytes), image_too_large (more than 25 million
    pixels or 64 MiB, told before any pixel is decoded), image_frames (an animation), image_colours (CMYK),
    image_unreadable (all else; no pixels, too). DicomError: as ``dicom.read_dicom``.
    """
    data = _read_file(source) if isinstance(source, Path) else source
    if not data:
        raise ImageError("image_empty", "The file is empty.")
    if len(data) > MAX_FILE_BYTES:
        raise ImageError("image_too_large", f"The file has more than {MAX_FILE_BYTES >> 20} MiB.")
    if is_dicom(data):
        return read_dicom(data, MAX_PIXELS).convert("RGB")
    reader = next((reader for magic, reader in _READERS.items() if data.startswith(magic)), None)
    if reader is None:
        raise ImageError("image_format", "The file is neither a PNG nor a JPEG nor a DICOM image.")
    try:
        with reader(io.BytesIO(data)) as image:
            _check_size(image.size)
            _check_kind(image)
            _check_passes(data)
            ImageOps.exif_transpose(image, in_place=True)
            return _to_rgb(image)
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # At hostile bytes decoders raise SyntaxError, struct.error, zlib.error and others.
        raise ImageError("image_unreadable", "The image is damaged or cut short.") from error


def to_input(image: Image.Image, architecture: Architecture) -> npt.NDArray[np.uint8]:
    """Resize to the architecture's input: uint8 (size, size, channels).

    Lanczos, three lobes, widened with the reduction: thin structures are averaged, not skipped, and edges stay sharp
    (docs/decisions/0005-lanczos.md).
    """
    mode = "L" if architecture.channels == 1 else "RGB"
    size = architecture.input_size
    resized = image.convert(mode).resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(resized, dtype=np.uint8).reshape(size, size, architecture.channels)


def _read_file(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            return file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ImageError("image_unreadable", f"{path.name} cannot be read: {error.strerror}.") from error


def _check_size(size: tuple[int, int]) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise ImageError("image_too_large", f"The image has {width} x {height} pixels; at most 25 million are read.")


def _check_kind(image: Image.Image) -> None:
    if getattr(image, "is_animated", False):
        raise ImageError("image_frames", "The file holds several pictures: an animation, not a scan.")
    if image.mode == "CMYK":
        raise ImageError(
            "image_colours", "The image is made of printing colours (CMYK), which every program shows differently."
        )


def _check_passes(data: bytes) -> None:
    """A pass over 25 million pixels may take 40 bytes of a JPEG, and a second; encoders make about ten."""
    if data.startswith(_JPEG) and data.count(_PASS) > MAX_PASSES:
        raise ImageError("image_unreadable", f"The JPEG is drawn in more than {MAX_PASSES} passes.")


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert in strips: a second copy of 25 million pixels would be 100 MB."""
    image.load()
    if image.mode == "RGB" and not image.has_transparency_data:
        return image.copy()
    shift = _shift_of(image)
    found = Image.new("RGB", image.size)
    rows = max(1, _AT_ONCE // image.width)
    for top in range(0, image.height, rows):
        part = image.crop((0, top, image.width, min(top + rows, image.height)))
        found.paste(_strip_to_rgb(part, shift), (0, top))
    return found


def _strip_to_rgb(strip: Image.Image, shift: int) -> Image.Image:
    if strip.mode.startswith("I"):
        return Image.fromarray((np.asarray(strip).astype(np.uint16) >> shift).astype(np.uint8)).convert("RGB")
    if strip.has_transparency_data:
        layer = strip.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "black"), layer).convert("RGB")
    return strip.convert("RGB")


def _shift_of(image: Image.Image) -> int:
    """How far 16-bit grey is shifted to 8 bits: where 12 bits are enough, as scanners write them, from those."""
    if not image.mode.startswith("I"):
        return 0
    _, most = cast("tuple[int, int]", image.getextrema())
    return 4 if most < _TWELVE_BITS else 8
