"""A model that somebody uploads: a Keras .h5, .weights.h5 or .keras file, of which the expected weights are read.

Runs in the process of reader.py, whose limits hold what HDF5 and zip may do to it.
"""

import io
import zipfile
import zlib
from dataclasses import dataclass
from typing import BinaryIO, Final

from hospintel_core import h5
from hospintel_core.architectures import Architecture
from hospintel_core.backbone import base_digest
from hospintel_core.errors import ModelFileError
from hospintel_core.weights import Arrays

# A whole vgg16-head256 has 67 MB, with Adam's two moments of the head 84 MB, with AMSGrad's three 92 MB.
MAX_BYTES: Final = 128 * 1024 * 1024
_ZIP = b"PK\x03\x04"
_END, _END_BYTES = b"PK\x05\x06", 22
_WEIGHTS = "model.weights.h5"
# Name -> the most bytes: the two texts are counted and never read.
_MEMBERS: Final = {"metadata.json": 64 * 1024, "config.json": 1024 * 1024, _WEIGHTS: MAX_BYTES}
_MAX_RATIO = 100


@dataclass(frozen=True)
class Uploaded:
    """The head of an uploaded model, and the digest of the base that came with it (as backbone.base_digest)."""

    head: Arrays
    base_digest: str


def read(file: BinaryIO, architecture: Architecture) -> Uploaded:
    """Read the weights of ``architecture`` out of an uploaded file; nothing else in it is looked at.

    The head's arrays are finite float32. Raises ModelFileError.
    """
    size = file.seek(0, io.SEEK_END)
    if size > MAX_BYTES:
        raise ModelFileError("model_too_large", f"The file has more than {MAX_BYTES >> 20} MiB.")
    file.seek(0)
    start = file.read(len(h5.MAGIC))
    source = _weights_member(file) if start.startswith(_ZIP) else file
    return Uploaded(h5.read_head(source, architecture), base_digest(h5.read_base(source, architecture)))


def _weights_member(file: BinaryIO) -> BinaryIO:
    """Return the weights of a .keras archive: exactly Keras' three members, each once, whole and of a sane size."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if sorted(member.filename for member in members) != sorted(_MEMBERS):
                raise _bad_archive("It must hold exactly metadata.json, config.json and model.weights.h5.")
            for member in members:
                _check_member(member)
            if min(member.header_offset for member in members) != 0 or not _ends_here(file):
                # Another format in front of the archive or behind it.
                raise _bad_archive("Something else is in the file too.")
            with archive.open(_WEIGHTS) as stream:
                data = stream.read(MAX_BYTES + 1)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, EOFError, OSError, ValueError) as error:
        raise ModelFileError("model_unreadable", "The file is not a readable .keras model.") from error
    # zipfile raises these for what is encrypted, and for methods, versions and encodings that it does not know.
    except (NotImplementedError, RuntimeError, OverflowError) as error:
        raise _bad_archive("It is packed in a way that Keras does not use.") from error
    return io.BytesIO(data)


def _ends_here(file: BinaryIO) -> bool:
    """Return whether the archive's end record, without a comment, is the end of the file."""
    file.seek(-_END_BYTES, io.SEEK_END)
    end = file.read(_END_BYTES)
    return end.startswith(_END) and end.endswith(b"\0\0")


def _check_member(member: zipfile.ZipInfo) -> None:
    if member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise _bad_archive("It is packed in a way that Keras does not use.")
    if member.file_size > _MEMBERS[member.filename]:
        raise ModelFileError("model_too_large", "The archive holds more than a model needs.")
    if member.file_size > _MAX_RATIO * max(member.compress_size, 1):
        raise ModelFileError("model_too_large", "The archive unfolds into more than a hundred times its size.")


def _bad_archive(detail: str) -> ModelFileError:
    return ModelFileError("model_archive", f"The file is not a .keras model as Keras saves it. {detail}")
