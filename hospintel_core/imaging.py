"""From a scan's file to the pixels that every model sees: the same on every machine.

Files come from hospital systems and from the web, so nothing is decoded before format and size have been read
from the header, and whatever a decoder raises ends as an ImageError.
"""

import hashlib
import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, JpegImagePlugin, PngImagePlugin

from hospintel_core.architectures import Architecture
from hospintel_core.errors import ImageError
from hospintel_core.files import open_regular

MAX_PIXELS = 25_000_000
MAX_FILE_BYTES = 64 * 1024 * 1024
_READERS: dict[bytes, type[PngImagePlugin.PngImageFile | JpegImagePlugin.JpegImageFile]] = {
    b"\x89PNG\r\n\x1a\n": PngImagePlugin.PngImageFile,
    b"\xff\xd8\xff": JpegImagePlugin.JpegImageFile,
}
_TWELVE_BITS = 4096


def content_digest(data: bytes) -> str:
    """SHA-256 of a scan's file, hex: its identity in caches, splits and reports."""
    return hashlib.sha256(data).hexdigest()


def read_scan(source: Path | bytes) -> Image.Image:
    """Decode a PNG or JPEG into an upright RGB image; the type is told by the content, not by the name.

    16-bit grey becomes 8-bit, transparency is laid on black, EXIF orientation is applied.
    Raises ImageError: image_format (neither PNG nor JPEG), image_empty (no bytes), image_too_large (more than
    25 million pixels or 64 MiB, told before any pixel is decoded), image_unreadable (all else; no pixels, too).
    """
    data = _read_file(source) if isinstance(source, Path) else source
    if not data:
        raise ImageError("image_empty", "The file is empty.")
    if len(data) > MAX_FILE_BYTES:
        raise ImageError("image_too_large", f"The file has more than {MAX_FILE_BYTES >> 20} MiB.")
    reader = next((reader for magic, reader in _READERS.items() if data.startswith(magic)), None)
    if reader is None:
        raise ImageError("image_format", "The file is neither a PNG nor a JPEG image.")
    try:
        with reader(io.BytesIO(data)) as image:
            _check_size(image.size)
            return _to_rgb(ImageOps.exif_transpose(image))
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


def _to_rgb(image: Image.Image) -> Image.Image:
    image.load()
    if image.mode.startswith("I"):
        return _from_16_bit(image).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "black"), layer).convert("RGB")
    return image.convert("RGB")


def _from_16_bit(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey to 8 bits; where 12 bits are enough, as scanners write them, 12 bits are the full range."""
    values = np.asarray(image).astype(np.uint16)
    shift = 4 if values.max() < _TWELVE_BITS else 8
    return Image.fromarray((values >> shift).astype(np.uint8))
