"""Files and zips that mean no good: each refused with its code, in bounded memory."""

import contextlib
import io
import json
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from dicom_files import compressed, dataset, dicom, element, encode, grey_header, pixels_of, ramp, raw, short
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.uid import RLELossless

from hospintel_core.errors import CoreError
from hospintel_core.intake import Scan, read_scan

NOISE = np.random.default_rng(1).integers(0, 256, (48, 64), dtype=np.uint8)
MAX_GROWTH = 300 * 1024 * 1024
SIDE = 5000  # 25 million pixels


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width, height, data=b"", depth=8, colour=0, before=b"", interlace=0):
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    body = before + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body


def zeros(size):
    """So many zero bytes, compressed, made without having them."""
    packer = zlib.compressobj(9)
    return b"".join([packer.compress(bytes(1 << 20)) for _ in range(size >> 20)]) + packer.flush()


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def small(mode="L", size=(20, 20)):
    return Image.new(mode, size, 90 if mode == "L" else None)


def animation():
    frames = [Image.new("L", (9, 9), level) for level in (10, 200)]
    return saved(frames[0], "PNG", save_all=True, append_images=frames[1:])


def after(data, marker, offset, new):
    at = data.index(marker) + offset
    return data[:at] + new + data[at + len(new) :]


def jpeg_of_size(width, height):
    return after(saved(small(), "JPEG"), b"\xff\xc0", 5, struct.pack(">HH", height, width))


def passes(count):
    """A progressive JPEG whose last pass comes again and again."""
    data = saved(Image.fromarray(NOISE), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * count + data[-2:]


def text_bomb():
    return chunk(b"zTXt", b"Comment\0\0" + zeros(200 << 20))


def profile_bomb():
    return chunk(b"iCCP", b"p\0\0" + zeros(200 << 20))


def j2k_of_size(rows, columns):
    """A DICOM file and a JPEG 2000 stream in it that agree on a size, with nothing behind."""
    size = struct.pack(">HHIIIIIIIIHBBB", 41, 0, columns, rows, 0, 0, columns, rows, 0, 0, 1, 15, 1, 1)
    return fragments(b"\xff\x4f\xff\x51" + size + b"\xff\xd9", b"1.2.840.10008.1.2.4.90", rows, columns)


def precinct_bomb(size):
    """A JPEG 2000 of 25 million pixels whose precincts are 2 to the power of ``size`` wide: an object for each."""
    buffer = io.BytesIO()
    options = {"no_jp2": True, "num_resolutions": 1, "precinct_size": (64, 64)}
    Image.fromarray(ramp(64, 64)).save(buffer, "JPEG2000", **options)
    stream = bytearray(buffer.getvalue())
    for at in (8, 12, 24, 28):
        stream[at : at + 4] = struct.pack(">I", SIDE)
    stream[stream.index(b"\xff\x52") + 14] = size * 0x11
    return fragments(bytes(stream), b"1.2.840.10008.1.2.4.90", SIDE, SIDE)


def fragments(stream, syntax, rows=48, columns=64):
    items = b"\xfe\xff\x00\xe0" + bytes(4) + b"\xfe\xff\x00\xe0" + struct.pack("<I", len(stream)) + stream
    picture = pixels_of(items + b"\xfe\xff\xdd\xe0" + bytes(4), 0xFFFFFFFF).replace(b"OW", b"OB", 1)
    return raw(*grey_header(rows, columns), picture, syntax=syntax + b"\0" * (len(syntax) % 2))


def rle_bomb():
    """Each pair of bytes unpacks to 128, a thousand times what the picture needs."""
    runs = b"\x81\x00" * 4_000_000
    head = struct.pack("<16L", 2, 64, 64 + len(runs) // 2, *[0] * 13)
    return fragments(head + runs, b"1.2.840.10008.1.2.5")


def lying_offsets():
    head = struct.pack("<16L", 2, 4_000_000_000, 64, *[0] * 13)
    return fragments(head + b"\x00" * 100, b"1.2.840.10008.1.2.5")


# name -> (code, bytes, or a function that makes them)
FILES = {
    "empty": ("image_empty", b""),
    "one byte": ("image_format", b"\x89"),
    "PNG's magic alone": ("image_unreadable", b"\x89PNG\r\n\x1a\n"),
    "JPEG's magic alone": ("image_unreadable", b"\xff\xd8\xff"),
    "text": ("image_format", b"Dear colleague"),
    "SVG": ("image_format", b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"),
    "HTML": ("image_format", b"<!DOCTYPE html><script>alert(1)</script>"),
    "PDF": ("image_format", b"%PDF-1.7 ..."),
    "a program": ("image_format", b"\x7fELF" + bytes(200)),
    "a pickle": ("image_format", b"\x80\x04cos\nsystem\n(S'id'\ntR."),
    "a zip": ("image_format", b"PK\x03\x04" + bytes(60)),
    "GIF": ("image_format", saved(small(), "GIF")),
    "BMP": ("image_format", saved(small(), "BMP")),
    "TIFF": ("image_format", saved(small(), "TIFF")),
    "WEBP": ("image_format", saved(small(), "WEBP")),
    "EPS": ("image_format", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n"),
    "FITS": ("image_format", b"SIMPLE  =                    T" + b" " * 50),
    "more than 64 MiB": ("image_too_large", lambda: saved(small(), "PNG") + bytes(65 << 20)),
    "PNG of no width": ("image_unreadable", png(0, 10)),
    "PNG of no height": ("image_unreadable", png(10, 0)),
    "PNG of 400 million pixels": ("image_too_large", lambda: png(20000, 20000, zeros(400 << 20))),
    "PNG of 4 billion by 4 billion": ("image_too_large", png(0x7FFFFFFF, 0x7FFFFFFF)),
    "PNG one column too wide": ("image_too_large", png(SIDE + 1, SIDE)),
    "PNG of full size without data": ("image_unreadable", png(SIDE, SIDE)),
    "PNG of full size cut short": ("image_unreadable", lambda: png(SIDE, SIDE, zeros(20 << 20)[:9000], colour=2)),
    "PNG with far too much data": ("image_unreadable", lambda: png(10, 10, zeros(300 << 20), depth=3)),
    "PNG of a depth that is none": ("image_unreadable", png(4, 4, zlib.compress(bytes(99)), depth=7)),
    "PNG of a colour type that is none": ("image_unreadable", png(4, 4, zlib.compress(bytes(99)), colour=5)),
    "PNG with a wrong checksum": ("image_unreadable", after(saved(small(), "PNG"), b"IHDR", 17, b"\0\0\0\0")),
    "PNG with a text bomb": ("image_unreadable", lambda: png(4, 4, zlib.compress(bytes(20)), before=text_bomb())),
    "PNG with a chunk beyond the end": ("image_unreadable", png(4, 4, b"", before=b"\x7f\xff\xff\xfftEXtabc")),
    "PNG that moves": ("image_frames", animation()),
    "JPEG of 4 billion pixels": ("image_too_large", jpeg_of_size(65535, 65535)),
    "JPEG of no width": ("image_unreadable", jpeg_of_size(0, 100)),
    "JPEG without an end": ("image_unreadable", saved(Image.fromarray(NOISE), "JPEG")[:-400]),
    "JPEG of printing colours": ("image_colours", saved(Image.new("CMYK", (9, 9)), "JPEG")),
    "JPEG of a thousand passes": ("image_unreadable", passes(1000)),
    "JPEG of full size without data": ("image_unreadable", lambda: jpeg_of_size(SIDE, SIDE)[:-40]),
    "DICOM of absurd size": ("image_too_large", raw(*grey_header(65535, 65535), pixels_of(bytes(99)))),
    "DICOM of full size without data": ("dicom_length", raw(*grey_header(SIDE, SIDE), pixels_of(bytes(100)))),
    "DICOM of a million elements": ("dicom_damaged", lambda: raw(short(0x00091001, 1) * 1_000_000)),
    "DICOM of a million items": (
        "dicom_damaged",
        lambda: raw(element(0x00400275, b"SQ", b"\xfe\xff\x00\xe0\0\0\0\0" * 1_000_000, 0xFFFFFFFF)),
    ),
    "DICOM of a deep nest": (
        "dicom_damaged",
        lambda: raw((element(0x00400275, b"SQ", b"", 0xFFFFFFFF) + b"\xfe\xff\x00\xe0\xff\xff\xff\xff") * 50_000),
    ),
    "DICOM deflated": (
        "dicom_syntax",
        lambda: raw(zlib.compress(bytes(50 << 20))[2:], syntax=b"1.2.840.10008.1.2.1.99"),
    ),
    "DICOM with a JPEG 2000 of 25 million pixels and no data": ("dicom_undecodable", j2k_of_size(SIDE, SIDE)),
    "DICOM with a JPEG 2000 of 6 million precincts": ("dicom_undecodable", lambda: precinct_bomb(1)),
    "DICOM with a JPEG 2000 of 400,000 precincts": ("dicom_undecodable", lambda: precinct_bomb(3)),
    "DICOM with an RLE bomb": ("dicom_undecodable", rle_bomb),
    "DICOM with lying RLE offsets": ("dicom_undecodable", lying_offsets()),
    "DICOM with RLE that ends": ("dicom_undecodable", fragments(b"\x02\0\0\0", b"1.2.840.10008.1.2.5")),
    "DICOM with a JPEG that is text": ("dicom_undecodable", fragments(b"Dear colleague", b"1.2.840.10008.1.2.4.50")),
    "DICOM with a PNG for JPEG": ("dicom_undecodable", fragments(saved(small(), "PNG"), b"1.2.840.10008.1.2.4.50")),
    "DICOM with text for JPEG-LS": ("dicom_undecodable", fragments(b"Dear colleague", b"1.2.840.10008.1.2.4.80")),
    "DICOM of two frames": ("dicom_frames", dicom(ramp(), stored=12, NumberOfFrames=2)),
    "DICOM of a palette": ("dicom_colour", dicom(ramp(), stored=12, PhotometricInterpretation="PALETTE COLOR")),
    "DICOM with text in its picture": ("dicom_burned_in", dicom(ramp(), stored=12, BurnedInAnnotation="YES")),
    "DICOM that is a program too": ("dicom_no_pixels", b"\x7fELF" + raw()[4:]),
}

READER = """
import json, os, resource, sys
from pathlib import Path
from hospintel_core import intake, bundle
from hospintel_core.architectures import CLASSES
from hospintel_core.errors import CoreError
import pydicom.pixels.decoders.base

def memory(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024

def read(kind, data):
    try:
        if kind == "scan":
            return intake.read_scan("a.bin", data) and ""
        with bundle.read_bundle(data, CLASSES) as found:
            return sorted({item.code for item in found if isinstance(item, bundle.Refused)})
    except CoreError as error:
        return error.code

for path in sys.argv[2:]:
    if os.fork():
        assert os.wait()[1] == 0
        continue
    data = Path(path).read_bytes()
    # The peak so far is forgotten; that of getrusage would be the one of whoever started this process.
    Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmRSS")
    code = read(sys.argv[1], data)
    apart = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(json.dumps([code, memory("VmHWM") - before, apart]), flush=True)
    os._exit(0)
"""


def read_apart(kind, folder, files):
    """For each file its code, and by how much memory grew at most, in its process and in that of GDCM.

    A process may have 1.5 GiB of addresses, of which its libraries take half a gigabyte.
    """
    paths = []
    for number, data in enumerate(files):
        paths.append(folder / f"{number}.bin")
        paths[-1].write_bytes(data)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", "-c", READER, kind, *map(str, paths)]
    start = ["/bin/sh", "-c", f'ulimit -v {3 << 19}; exec "$@"', "sh", *command]
    done = subprocess.run(start, capture_output=True, env=env, timeout=300, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    made = [data() if callable(data) else data for _, data in FILES.values()]
    return dict(zip(FILES, read_apart("scan", tmp_path_factory.mktemp("files"), made), strict=True))


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_hostile_file_is_refused_in_bounded_memory(name, answers):
    found, grown, child = answers[name]
    assert found == FILES[name][0]
    assert max(grown, child) < MAX_GROWTH, f"{grown >> 20} and {child >> 20} MiB"


def large_png(turned):
    noise = np.random.default_rng(2).integers(0, 256, (500, 500, 4), dtype=np.uint8)
    return saved(
        Image.fromarray(noise).resize((SIDE, SIDE), Image.Resampling.NEAREST), "PNG", exif=turned, compress_level=1
    )


def large_jpeg(turned):
    noise = np.random.default_rng(2).integers(0, 256, (800, 800, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((SIDE, SIDE), Image.Resampling.NEAREST)
    return saved(image, "JPEG", progressive=True, subsampling=0, exif=turned)


@pytest.mark.parametrize("make", [large_png, large_jpeg])
def test_the_costliest_good_files_are_read_in_bounded_memory(make, tmp_path):
    """Of 25 million pixels, transparent or progressive, to be turned: what they may take, a hostile one may take."""
    turned = Image.Exif()
    turned[0x0112] = 6
    ((found, grown, _),) = read_apart("scan", tmp_path, [make(turned)])
    assert found == ""
    assert grown < MAX_GROWTH, f"{grown >> 20} MiB"


@pytest.mark.parametrize(
    ("syntax", "side"),
    [("JPEGLosslessProcess14_1", 2800), ("JPEGLSLossless", 2800), ("JPEG2000Lossless", 2800), ("RLELossless", SIDE)],
)
def test_a_large_compressed_dicom_file_is_read_in_bounded_memory(syntax, side, tmp_path):
    noise = np.random.default_rng(2).integers(0, 4096, (700, 700)).astype(np.uint16)
    pixels = np.tile(noise, (8, 8))[:side, :side]
    data = compressed(dataset(pixels, stored=12), syntax, tmp_path)
    ((found, grown, child),) = read_apart("scan", tmp_path, [data])
    assert found == ""
    assert max(grown, child) < MAX_GROWTH, f"{grown >> 20} and {child >> 20} MiB"


GOOD = [saved(Image.fromarray(NOISE), "PNG"), saved(Image.fromarray(NOISE), "JPEG"), dicom(ramp(), stored=12)]
GOOD.append(dicom(ramp(), stored=12, WindowCenter=300, WindowWidth=[400, 2], VOILUTFunction="SIGMOID"))
RLE = dataset(ramp(), stored=12)
RLE.compress(RLELossless)
GOOD.append(encode(RLE))


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dicom")
    syntaxes = ("JPEG2000Lossless", "JPEGLSLossless", "JPEGLosslessProcess14_1")
    return GOOD + [compressed(dataset(ramp(), stored=12), syntax, folder) for syntax in syntaxes]


# A process is started for some of the files.
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chosen=st.integers(0, 7), draw=st.data())
def test_a_damaged_file_is_a_scan_or_a_core_error_and_nothing_else(good, chosen, draw):
    damaged = bytearray(good[chosen])
    for _ in range(draw.draw(st.integers(1, 6))):
        at = draw.draw(st.integers(0, len(damaged) - 1))
        new = draw.draw(st.binary(min_size=1, max_size=4))
        damaged[at : at + len(new)] = new
    cut = draw.draw(st.one_of(st.just(len(damaged)), st.integers(0, len(damaged))))
    with contextlib.suppress(CoreError):
        assert isinstance(read_scan("a.dcm", bytes(damaged[:cut])), Scan)
