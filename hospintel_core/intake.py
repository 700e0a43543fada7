"""Scans that people hand in: read by the one decoder, and made anew so that only their pixels go on."""

import io
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

from PIL import Image, ImageChops

from hospintel_core.dicom_elements import is_dicom
from hospintel_core.errors import ImageError
from hospintel_core.imaging import content_digest
from hospintel_core.imaging import read_scan as decode_scan

SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".dcm"})


@dataclass(frozen=True)
class Scan:
    """A scan without anything that came with it: ``png`` holds 8-bit grey or RGB pixels and no other chunk.

    ``imaging.read_scan(scan.png)`` gives the same pixels as the file that was handed in. ``digest`` is SHA-256 of
    ``png``, hex: the same pixels have the same one. ``kind``: what was handed in, "png", "jpeg" or "dicom".
    """

    png: bytes
    width: int
    height: int
    digest: str
    kind: str


def read_scan(name: str, data: bytes) -> Scan:
    """Check and decode one file that somebody handed in, and encode its pixels anew.

    The type is told by the content. ``name`` is only used to say that a file is not what its name says, and appears
    in no error.
    Raises ImageError: as ``imaging.read_scan``, and image_mismatch for a file with the name of a scan that is none.
    DicomError: as ``dicom.read_dicom``.
    """
    try:
        image = decode_scan(data)
    except ImageError as error:
        if error.code == "image_format" and PurePath(name).suffix.lower() in SUFFIXES:
            raise ImageError("image_mismatch", "The file has the name of a scan, but is of another kind.") from error
        raise
    image = _grey_if_grey(image)
    buffer = io.BytesIO()
    # A new image: what Pillow keeps beside the pixels (profiles, texts, EXIF) is not even at hand here.
    Image.frombuffer(image.mode, image.size, image.tobytes()).save(buffer, "PNG")
    png = buffer.getvalue()
    return Scan(png, image.width, image.height, content_digest(png), _kind(data))


def _grey_if_grey(image: Image.Image) -> Image.Image:
    red, green, blue = image.split()
    if ImageChops.difference(red, green).getbbox() or ImageChops.difference(red, blue).getbbox():
        return image
    return red


def _kind(data: bytes) -> str:
    if is_dicom(data):
        return "dicom"
    return "jpeg" if data.startswith(b"\xff\xd8") else "png"
