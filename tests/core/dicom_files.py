"""DICOM files made for the tests: by pydicom where it can write them, by GDCM where only that can compress."""

import io
import zlib  # noqa: F401 - before GDCM, as dicom_codecs explains
from pathlib import Path

import gdcm
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid


def dataset(pixels, *, stored=0, signed=None, syntax=ExplicitVRLittleEndian, **elements):
    """A single-frame MR image of ``pixels`` (rows, columns); ``elements`` by keyword, None takes one away."""
    found = Dataset()
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = syntax
    found.file_meta.MediaStorageSOPClassUID = found.SOPClassUID = MRImageStorage
    found.file_meta.MediaStorageSOPInstanceUID = found.SOPInstanceUID = generate_uid()
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
