import contextlib
import io
import os
import resource
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hospintel_core import architectures
from hospintel_core.errors import ImageError
from hospintel_core.imaging import MAX_FILE_BYTES, content_digest, read_scan, to_input

VGG16 = architectures.get("vgg16-head256")
PIXELS = architectures.get("pixels-head16")


def encode(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_of_size(width, height, data=b""):
    """A PNG that claims a size, whatever its data holds."""

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def gradient(mode="L", size=(40, 30)):
    rows, columns = np.indices((size[1], size[0]))
    return Image.fromarray((rows * 4 + columns * 3).astype(np.uint8)).convert(mode)


def code_of(data):
    with pytest.raises(ImageError) as caught:
        read_scan(data)
    return caught.value.code


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_grey_and_colour_files_become_rgb(kind, mode):
    image = read_scan(encode(gradient(mode), kind))
    assert (image.mode, image.size) == ("RGB", (40, 30))
    assert np.abs(np.asarray(image).astype(int) - np.asarray(gradient("RGB")).astype(int)).max() <= 8


def test_a_path_reads_like_its_bytes(tmp_path):
    path = tmp_path / "scan.png"
    path.write_bytes(encode(gradient()))
    assert read_scan(path).tobytes() == read_scan(path.read_bytes()).tobytes()


def test_a_path_that_cannot_be_read_is_an_image_error(tmp_path):
    assert code_of(tmp_path / "nowhere.png") == "image_unreadable"
    assert code_of(tmp_path) == "image_unreadable"


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_file_is_refused(kind, share):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 80), dtype=np.uint8))
    data = encode(noise, kind)
    assert code_of(data[: int(len(data) * share)]) == "image_unreadable"


def test_an_empty_file_and_an_image_without_pixels_are_refused():
    assert code_of(b"") == "image_empty"
    assert code_of(png_of_size(0, 10)) == "image_unreadable"
    assert code_of(png_of_size(10, 0)) == "image_unreadable"


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_another_format_behind_a_right_name_is_refused(kind, tmp_path):
    path = tmp_path / "scan.jpg"
    path.write_bytes(encode(gradient("RGB"), kind))
    assert code_of(path) == "image_format"
    assert code_of(b"%PDF-1.7 not an image") == "image_format"


def test_a_jpeg_named_png_is_read_as_what_it_is(tmp_path):
    path = tmp_path / "scan.png"
    path.write_bytes(encode(gradient(), "JPEG"))
    assert read_scan(path).size == (40, 30)


def test_the_pixel_limit_is_exact():
    assert code_of(png_of_size(5001, 5000)) == "image_too_large"
    # At the limit the size passes, and what is wrong is the data.
    assert code_of(png_of_size(5000, 5000)) == "image_unreadable"


def test_a_huge_image_in_a_small_file_is_refused_from_its_header(tmp_path):
    data = png_of_size(20_000, 20_000, bytes(40_000_000))
    assert len(data) < 500_000
    path = tmp_path / "bomb.png"
    path.write_bytes(data)
    script = (
        "import resource, sys, time\nfrom pathlib import Path\n"
        "from hospintel_core.errors import ImageError\nfrom hospintel_core.imaging import read_scan\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "started = time.perf_counter()\n"
        "try:\n    read_scan(Path(sys.argv[1]))\n"
        "except ImageError as error:\n    print(error.code, end=' ')\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, time.perf_counter() - started)\n"
    )
    answer = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, path], capture_output=True, text=True, check=True, env=here()
    )
    code, grown_kib, seconds = answer.stdout.split()
    assert code == "image_too_large"
    assert int(grown_kib) < 20_000
    assert float(seconds) < 1


def here():
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def test_a_file_over_the_byte_limit_is_refused_unread(tmp_path):
    path = tmp_path / "scan.png"
    with path.open("wb") as file:
        file.write(encode(gradient()))
        file.truncate(4 * MAX_FILE_BYTES)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert code_of(path) == "image_too_large"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 3 * MAX_FILE_BYTES / 1024


def test_a_16_bit_scan_keeps_its_tones():
    grey = np.asarray(gradient()).astype(np.uint16)
    full = Image.fromarray(grey * 257)
    assert full.mode == "I;16"
    assert np.array_equal(np.asarray(read_scan(encode(full)))[..., 0], grey)
    twelve = Image.fromarray(grey * 16)
    assert np.array_equal(np.asarray(read_scan(encode(twelve)))[..., 0], grey)


def test_a_palette_scan_is_read_in_its_colours():
    image = gradient("RGB").quantize(16)
    assert image.mode == "P"
    assert np.array_equal(np.asarray(read_scan(encode(image))), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_pixels_are_black_whatever_colour_they_hide(mode):
    pixels = np.full((4, 4, 4 if mode == "RGBA" else 2), 200, np.uint8)
    pixels[..., -1] = 255
    pixels[:2, :, -1] = 0
    found = np.asarray(read_scan(encode(Image.fromarray(pixels))))
    assert not found[:2].any()
    assert (found[2:] == 200).all()


def test_a_palette_with_a_transparent_entry_is_laid_on_black():
    image = Image.new("P", (2, 1))
    image.putpalette([250, 250, 250, 90, 90, 90])
    image.putpixel((1, 0), 1)
    found = np.asarray(read_scan(encode(image, transparency=0)))
    assert found[0, :, 0].tolist() == [0, 90]


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_exif_orientation_turns_the_image_upright(kind):
    image = gradient(size=(40, 24))
    exif = Image.Exif()
    exif[0x0112] = 6  # Turn by 90 degrees clockwise to show.
    found = read_scan(encode(image, kind, exif=exif))
    assert found.size == (24, 40)
    upright = np.asarray(image.transpose(Image.Transpose.ROTATE_270)).astype(int)
    assert np.abs(np.asarray(found)[..., 0] - upright).max() <= 8


@pytest.mark.parametrize("architecture", [VGG16, PIXELS], ids=lambda architecture: architecture.name)
def test_the_input_has_the_architectures_shape(architecture):
    found = to_input(read_scan(encode(gradient("RGB", (300, 200)))), architecture)
    assert found.shape == (architecture.input_size, architecture.input_size, architecture.channels)
    assert found.dtype == np.uint8


def test_reduction_averages_instead_of_skipping():
    stripes = np.zeros((160, 160), np.uint8)
    stripes[::2] = 200
    found = to_input(read_scan(encode(Image.fromarray(stripes))), PIXELS)
    assert np.abs(found[2:-2, 2:-2].astype(int) - 100).max() <= 10


def test_the_content_digest_is_sha256_of_the_file():
    assert content_digest(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


JPEG, PNG = encode(gradient(), "JPEG"), encode(gradient("RGBA"))


@given(st.sampled_from([JPEG, PNG]), st.data())
def test_damaged_bytes_give_an_image_or_an_image_error_and_nothing_else(data, draw):
    damaged = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 8))):
        damaged[draw.draw(st.integers(4, len(damaged) - 1))] = draw.draw(st.integers(0, 255))
    cut = draw.draw(st.integers(0, len(damaged)))
    with contextlib.suppress(ImageError):
        assert read_scan(bytes(damaged[:cut])).mode == "RGB"


def test_a_pipe_is_no_image_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "scan.png")
    assert code_of(tmp_path / "scan.png") == "image_unreadable"


def test_a_progressive_jpeg_of_ordinary_passes_is_read():
    data = encode(gradient("RGB"), "JPEG", progressive=True)
    assert data.count(b"\xff\xda") > 5
    assert read_scan(data).size == (40, 30)
