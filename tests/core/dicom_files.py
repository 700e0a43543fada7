"""DICOM files made for the tests: by pydicom where it can write them, by GDCM where only that can compress."""

import io
import zlib  # noqa: F401 - before GDCM, as dicom_child explains
from pathlib import Path

import gdcm
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

# The same in every run, as the content of a scan decides whether it trains or validates.
UID = "1.2.826.0.1.3680043.8.498.1"


def dataset(pixels, *, stored=0, signed=None, syntax=ExplicitVRLittleEndian, **elements):
    """A single-frame MR image of ``pixels`` (rows, columns); ``elements`` by keyword, None takes one away."""
    found = Dataset()
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = syntax
    found.file_meta.MediaStorageSOPClassUID = found.SOPClassUID = MRImageStorage
    found.file_meta.MediaStorageSOPInstanceUID = found.SOPInstanceUID = UID
    allocated = pixels.dtype.itemsize * 8
    found.Rows, found.Columns = pixels.shape
    found.SamplesPerPixel, found.PhotometricInterpretation = 1, "MONOCHROME2"
    found.BitsAllocated, found.BitsStored = allocated, stored or allocated
    found.HighBit = found.BitsStored - 1
    found.PixelRepresentation = int(pixels.dtype.kind == "i") if signed is None else int(signed)
    found.add_new("PixelData", "OW", pixels.tobytes() + bytes(pixels.nbytes % 2))
    for keyword, value in elements.items():
        if value is None:
            delattr(found, keyword)
        else:
            setattr(found, keyword, value)
    return found


def encode(found):
    """The file's bytes."""
    buffer = io.BytesIO()
    found.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def dicom(pixels, **options):
    """The bytes of ``dataset(pixels, **options)``."""
    return encode(dataset(pixels, **options))


def compressed(found, syntax, folder):
    """The file compressed by GDCM; ``syntax`` is a name of gdcm.TransferSyntax."""
    plain, squeezed = Path(folder, "plain.dcm"), Path(folder, "squeezed.dcm")
    plain.write_bytes(encode(found))
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(plain))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(squeezed))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return squeezed.read_bytes()


def ramp(rows=48, columns=64, step=30):
    """Grey levels of 12 bits that rise to the lower right."""
    return (np.indices((rows, columns)).sum(0) * step).astype(np.uint16)


def raw(*elements, syntax=b"1.2.840.10008.1.2.1\0"):
    """A file of elements as they are given, right or wrong, behind a preamble and a transfer syntax."""
    return bytes(128) + b"DICM" + element(0x00020010, b"UI", syntax) + b"".join(elements)


def element(tag, kind, value, length=None):
    """One explicit little-endian element; ``length`` may lie."""
    length = len(value) if length is None else length
    head = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little") + kind
    if kind in {b"OB", b"OW", b"SQ", b"UN", b"UT", b"OF", b"OD", b"UC", b"UR"}:
        return head + bytes(2) + length.to_bytes(4, "little") + value
    return head + length.to_bytes(2, "little") + value


def short(tag, number):
    """An element that holds one unsigned 16-bit number."""
    return element(tag, b"US", number.to_bytes(2, "little"))


def grey_header(rows=2, columns=3, *, allocated=16, stored=12, high=None, signed=0):
    """The elements that every grey picture needs, in order."""
    return [
        short(0x00280002, 1),
        element(0x00280004, b"CS", b"MONOCHROME2 "),
        short(0x00280010, rows),
        short(0x00280011, columns),
        short(0x00280100, allocated),
        short(0x00280101, stored),
        short(0x00280102, stored - 1 if high is None else high),
        short(0x00280103, signed),
    ]


def pixels_of(data, length=None):
    """The element of an uncompressed picture."""
    return element(0x7FE00010, b"OW", data, length)
