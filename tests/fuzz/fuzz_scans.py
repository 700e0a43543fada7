"""Scans that doctors and hospitals bring: PNG, JPEG, DICOM, and zip files of them."""

import io
import struct
import zipfile
import zlib

import dicom_files
import numpy as np
from fuzz_parsers import Parser
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import ImplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless

from hospintel_core import architectures, bundle, dicom_codecs, intake
from hospintel_core.dicom_codecs import DECODERS, Layout
from hospintel_core.errors import DatasetError, DicomError, ImageError

CLASSES = architectures.get("pixels-head16").class_names
LAYOUT = Layout(rows=8, columns=8, allocated=16, stored=12, signed=False)
PNG = b"\x89PNG\r\n\x1a\n"
SYNTAXES = sorted(DECODERS)


def picture(form: str, mode: str = "L", size: int = 12, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((size, size)).convert(mode).save(buffer, form, **options)
    return buffer.getvalue()


def dicom(**options: object) -> bytes:
    return dicom_files.dicom(np.arange(64, dtype=np.uint16).reshape(8, 8) * 60, stored=12, **options)


def pictures() -> list[bytes]:
    return [
        picture("PNG"),
        picture("PNG", "P"),
        picture("PNG", "RGBA"),
        picture("PNG", "I;16"),
        picture("JPEG"),
        picture("JPEG", "RGB", progressive=True),
    ]


def table(first: int) -> Dataset:
    """A look-up table of 16 entries, as it stands in a sequence."""
    found = Dataset()
    found.add_new("LUTDescriptor", "US", [16, first, 16])
    found.add_new("LUTData", "OW", np.arange(0, 65536, 4096, dtype="<u2").tobytes())
    return found


def squeezed(syntax: str) -> bytes:
    """A picture that is decoded in this process: RLE by pydicom, JPEG by Pillow."""
    found = dicom_files.dataset(np.arange(64, dtype=np.uint8).reshape(8, 8) * 3)
    if syntax == RLELossless:
        found.compress(RLELossless)
        return dicom_files.encode(found)
    found.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    found.add_new("PixelData", "OB", encapsulate([picture("JPEG", size=8)]))
    found["PixelData"].is_undefined_length = True
    return dicom_files.encode(found)


def dicoms() -> list[bytes]:
    return [
        dicom(VOILUTSequence=[table(100)]),
        dicom(ModalityLUTSequence=[table(0)], VOILUTFunction="SIGMOID", WindowCenter=["9"], WindowWidth=["7"]),
        dicom(PixelPaddingValue=0, BurnedInAnnotation="NO", syntax=ImplicitVRLittleEndian),
        squeezed(RLELossless),
        squeezed(JPEGBaseline8Bit),
        dicom(),
        dicom(WindowCenter=["900"], WindowWidth=["700"], RescaleSlope="2", RescaleIntercept="-100"),
        dicom(PhotometricInterpretation="MONOCHROME1", NumberOfFrames="1"),
        dicom_files.raw(*dicom_files.grey_header(), dicom_files.pixels_of(bytes(12))),
    ]


def zipped() -> list[bytes]:
    found = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as archive:
            archive.writestr(f"all/{CLASSES[0]}/a.png", picture("PNG", size=4))
            archive.writestr(f"all/{CLASSES[1]}/b.dcm", dicom())
            archive.writestr("all/.DS_Store", b"x")
        found.append(buffer.getvalue())
    return found


def repaired(data: bytes) -> bytes:
    """A PNG whose chunks have the right checksums: decoders look at what is in them only then."""
    found, at = bytearray(data), len(PNG)
    while data.startswith(PNG) and at + 12 <= len(found):
        end = at + 8 + int.from_bytes(found[at : at + 4], "big")
        if end + 4 > len(found):
            break
        found[end : end + 4] = zlib.crc32(found[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(found)


def read_scan(data: bytes) -> None:
    found = intake.read_scan("scan.png", repaired(data))
    again = intake.read_scan("again.png", found.png)
    assert (again.digest, again.width, again.height) == (found.digest, found.width, found.height)


def read_bundle(data: bytes) -> None:
    with bundle.read_bundle(data, CLASSES) as entries:
        for entry in entries:
            assert 1 <= entry.number <= bundle.MAX_ENTRIES


def read_stream(data: bytes) -> None:
    """What is read of a compressed picture before a decoder, in a process of its own, gets it."""
    syntax = SYNTAXES[data[0] % len(SYNTAXES)] if data else SYNTAXES[0]
    dicom_codecs._check_stream(syntax, data[1:], LAYOUT)


def streams() -> list[bytes]:
    """The head of a stream of each kind, under each transfer syntax: each is right for some of them."""
    size = struct.pack(">BHHB", 12, LAYOUT.rows, LAYOUT.columns, 1)
    heads = [b"\xff\xd8\xff" + kind + b"\0\x0b" + size + bytes(4) for kind in (b"\xc0", b"\xc3", b"\xf7")]
    heads.append(b"\xff\x4f\xff\x51" + struct.pack(">HHIIII16xHB", 41, 0, LAYOUT.columns, LAYOUT.rows, 0, 0, 1, 11))
    plane = b"\xc1\0"  # 64 times the same byte
    heads.append(struct.pack("<16I", 2, 64, 64 + len(plane), *[0] * 13) + plane * 2)
    return [bytes([number]) + head for number in range(len(SYNTAXES)) for head in heads]


FAMILY = {
    "PNG and JPEG": Parser(read_scan, (ImageError,), pictures),
    "DICOM": Parser(read_scan, (ImageError,), dicoms),
    "compressed DICOM": Parser(read_stream, (DicomError,), streams),
    "zip of scans": Parser(read_bundle, (DatasetError,), zipped),
}
