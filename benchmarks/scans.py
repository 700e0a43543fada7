"""Reading one scan of 512 x 512 as an upload is read: decoded, checked, encoded anew."""

import io
import tempfile
import zlib  # noqa: F401 - before GDCM, as hospintel_core/dicom_child.py explains
from pathlib import Path

import gdcm
import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, RLELossless, generate_uid

from benchmarks.measure import Row, interleaved, show
from hospintel_core.intake import read_scan
from hospintel_core.phantoms import draw

REPEATS = 20
SIDE = 512


def run() -> None:
    image = draw(0, np.random.default_rng(1)).convert("L").resize((SIDE, SIDE))
    grey = np.asarray(image)
    files = {"PNG": _saved(image, "PNG"), "JPEG": _saved(image, "JPEG")}
    files["DICOM"] = _dicom(grey, compressed=False)
    files["DICOM, RLE"] = _dicom(grey, compressed=True)
    files["DICOM, JPEG 2000, decoded apart"] = _by_gdcm(files["DICOM"], gdcm.TransferSyntax.JPEG2000Lossless)
    files["DICOM, JPEG-LS, decoded apart"] = _by_gdcm(files["DICOM"], gdcm.TransferSyntax.JPEGLSLossless)
    rows = interleaved([(name, lambda data=data: read_scan("scan", data)) for name, data in files.items()], REPEATS)
    show(f"A scan of {SIDE} x {SIDE}", [Row(row.name, row.seconds, 1, "scans") for row in rows])


def _saved(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def _dicom(grey: np.ndarray, *, compressed: bool) -> bytes:
    found = Dataset()
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    found.file_meta.MediaStorageSOPClassUID = found.SOPClassUID = MRImageStorage
    found.file_meta.MediaStorageSOPInstanceUID = found.SOPInstanceUID = generate_uid()
    found.Rows, found.Columns = grey.shape
    found.SamplesPerPixel, found.PhotometricInterpretation = 1, "MONOCHROME2"
    found.BitsAllocated, found.BitsStored, found.HighBit, found.PixelRepresentation = 16, 12, 11, 0
    found.add_new("PixelData", "OW", (grey.astype(np.uint16) * 16).tobytes())
    if compressed:
        found.compress(RLELossless)
    buffer = io.BytesIO()
    found.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _by_gdcm(data: bytes, syntax: int) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "scan.dcm")
        path.write_bytes(data)
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(str(path))
        change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
        if not reader.Read():
            raise RuntimeError("GDCM cannot read its input.")
        change.SetInput(reader.GetImage())
        if not change.Change():
            raise RuntimeError("GDCM cannot compress.")
        writer.SetFileName(str(path))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        if not writer.Write():
            raise RuntimeError("GDCM cannot write.")
        return path.read_bytes()
