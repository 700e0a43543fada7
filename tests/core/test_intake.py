import io

import numpy as np
import pytest
from dicom_files import compressed, dataset, dicom, ramp
from PIL import Image, PngImagePlugin

from hospintel_core.errors import ImageError
from hospintel_core.imaging import content_digest
from hospintel_core.imaging import read_scan as decode_scan
from hospintel_core.intake import read_scan


def encode(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def picture(mode="L", size=(40, 30)):
    rows, columns = np.indices((size[1], size[0]))
    grey = (rows * 4 + columns * 3).astype(np.uint8)
    return Image.fromarray(np.dstack([grey, 255 - grey, grey])) if mode == "RGB" else Image.fromarray(grey)


def code_of(name, data):
    with pytest.raises(ImageError) as caught:
        read_scan(name, data)
    assert name not in caught.value.detail
    return caught.value.code


def chunks(png):
    found, at = [], 8
    while at < len(png):
        found.append(png[at + 4 : at + 8])
        at += 12 + int.from_bytes(png[at : at + 4], "big")
    return found


@pytest.mark.parametrize(("kind", "name"), [("PNG", "a.png"), ("JPEG", "a.jpg")])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_the_pixels_stay_and_the_type_is_told(kind, name, mode):
    data = encode(picture(mode), kind)
    scan = read_scan(name, data)
    assert (scan.width, scan.height, scan.kind) == (40, 30, kind.lower())
    assert Image.open(io.BytesIO(scan.png)).mode == mode
    assert decode_scan(scan.png).tobytes() == decode_scan(data).tobytes()
    assert scan.digest == content_digest(scan.png)


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_one_pixel_of_colour_is_kept(channel):
    pixels = np.full((4, 5, 3), 90, np.uint8)
    pixels[3, 4, channel] = 91
    scan = read_scan("a.png", encode(Image.fromarray(pixels)))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(scan.png))), pixels)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_nothing_but_pixels_goes_on(kind, mode):
    exif = Image.Exif()
    exif[0x010E] = "SECRET exif"
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "SECRET text")
    text.add_itxt("More", "SECRET itxt", zip=True)
    extra = {"pnginfo": text} if kind == "PNG" else {"comment": b"SECRET comment"}
    data = encode(picture(mode), kind, exif=exif, icc_profile=b"SECRET icc", **extra) + b"SECRET tail"
    assert data.count(b"SECRET") > 2
    scan = read_scan("a", data)
    assert b"SECRET" not in scan.png
    assert chunks(scan.png) == [b"IHDR", b"IDAT", b"IEND"]
    assert scan.digest == read_scan("b", encode(decode_scan(data))).digest


def test_a_dicom_file_is_read_whatever_its_name():
    data = dicom(ramp(), stored=12, PatientName="SECRET")
    for name in ("a.dcm", "IM0001", "1.2.840.1", "a.png"):
        scan = read_scan(name, data)
        assert (scan.width, scan.height, scan.kind) == (64, 48, "dicom")
        assert decode_scan(scan.png).tobytes() == decode_scan(data).tobytes()
        assert b"SECRET" not in scan.png


@pytest.mark.parametrize("syntax", ["JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless", "RLELossless"])
def test_compressed_dicom_has_the_same_pixels(syntax, tmp_path):
    found = dataset(ramp(), stored=12)
    assert read_scan("a", compressed(found, syntax, tmp_path)) == read_scan("a", dicom(ramp(), stored=12))


def test_another_kind_behind_a_right_name_has_a_code_of_its_own():
    gif = encode(picture(), "GIF")
    for name in ("a.png", "a.JPG", "a.jpeg", "a.dcm"):
        assert code_of(name, gif) == "image_mismatch"
    assert code_of("a.gif", gif) == "image_format"
    assert code_of("scan", b"%PDF-1.7") == "image_format"
    assert read_scan("a.png", encode(picture(), "JPEG")).kind == "jpeg"
