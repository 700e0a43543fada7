"""Files of real scanners, which pydicom brings along, against pydicom's own grey levels."""

import warnings
from pathlib import Path

import numpy as np
import pydicom
import pydicom.data
import pytest
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from hospintel_core.dicom import read_dicom
from hospintel_core.errors import ImageError
from hospintel_core.imaging import MAX_PIXELS

FOLDER = Path(pydicom.data.__file__).parent / "test_files"
FILES = sorted(path for path in FOLDER.rglob("*") if path.is_file() and path.read_bytes()[128:132] == b"DICM")
# Not grey pictures of one frame, or not in order, as pydicom's authors made or found them.
REFUSED = {
    "dicom_frames",
    "dicom_colour",
    "dicom_syntax",
    "dicom_no_pixels",
    "dicom_damaged",
    "dicom_pixels",
    "dicom_length",
    "dicom_display",
    "dicom_undecodable",
}


def shares(found):
    """Brightness 0..1 of each pixel by pydicom's functions, whose output is scaled to what the stored bits can say."""
    values = apply_modality_lut(found.pixel_array, found)
    if "WindowCenter" in found:
        bits, signed = found.BitsStored, found.PixelRepresentation
        ends = np.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if signed else [0, 2**bits - 1])
        low, high = ends * float(found.get("RescaleSlope", 1)) + float(found.get("RescaleIntercept", 0))
        values = apply_voi_lut(values, found)
    elif found.BitsStored == 8 and not found.PixelRepresentation:
        low, high = 0, 255
    else:
        low, high = values.min(), values.max()
    found_shares = (values.astype(float) - low) / (high - low)
    return 1 - found_shares if found.PhotometricInterpretation == "MONOCHROME1" else found_shares


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_grey_levels_are_pydicoms_but_for_rounding():
    same, refused = [], {}
    for path in FILES:
        try:
            grey = np.asarray(read_dicom(path.read_bytes(), MAX_PIXELS)).astype(float)
        except ImageError as error:
            refused[path.name] = error.code
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            difference = np.abs(shares(pydicom.dcmread(path)) * 255 - grey).max()
        assert difference <= 0.5 + 1e-6, path.name
        same.append(path.name)
    assert len(same) >= 40
    assert {"MR_small.dcm", "MR_small_RLE.dcm", "MR_small_jpeg_ls_lossless.dcm", "JPEG2000.dcm"} <= set(same)
    assert set(refused.values()) <= REFUSED
    assert refused["MR_truncated.dcm"] == "dicom_damaged"
    assert refused["image_dfl.dcm"] == "dicom_syntax"
    assert refused["reportsi.dcm"] == "dicom_no_pixels"
    assert refused["examples_palette.dcm"] == "dicom_colour"
    assert refused["rtdose.dcm"] == "dicom_frames"
    assert refused["MR_small_padded.dcm"] == "dicom_length"
