"""docs/scans.md says what the code does."""

import re
from pathlib import Path

from hospintel_core import bundle, dicom_elements, imaging
from hospintel_core.dicom_codecs import DECODERS
from hospintel_core.errors import DatasetError, DicomError, ImageError

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "scans.md").read_text()


def test_every_code_is_there_and_no_other():
    rows = re.findall(r"^\| (`[^|]*`) \|", TEXT, re.MULTILINE)
    codes = [code for row in rows for code in re.findall(r"`(\w+)`", row)]
    assert len(codes) == len(set(codes))
    assert set(codes) == ImageError.codes | DicomError.codes | DatasetError.codes


def test_the_limits_are_the_ones_of_the_code():
    assert (imaging.MAX_PIXELS, imaging.MAX_FILE_BYTES >> 20) == (25_000_000, 64)
    assert "25 million pixels and 64 MiB" in TEXT
    limits = (bundle.MAX_ENTRIES, bundle.MAX_ENTRY_BYTES >> 20, bundle.MAX_TOTAL_BYTES >> 30)
    assert limits == (2_000, 32, 1)
    assert "2,000 entries of 32 MiB each and 1 GiB in all" in TEXT
    assert f"over {dicom_elements.MAX_ELEMENTS:,} elements or {dicom_elements.MAX_DEPTH} levels" in TEXT
    assert f"Of a DICOM file {len(dicom_elements.ALLOWED)} elements are read" in TEXT


def test_every_compression_is_named():
    assert len(DECODERS) == 8
    for name in ("RLE", "JPEG baseline", "JPEG lossless", "JPEG-LS", "JPEG 2000"):
        assert name in TEXT
