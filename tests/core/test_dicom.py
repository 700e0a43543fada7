"""Grey levels of DICOM files, each worked out by hand; and files that are refused, each with its code."""

import os
import subprocess
import sys

import numpy as np
import pytest
from dicom_files import compressed, dataset, dicom, element, encode, grey_header, pixels_of, ramp, raw, short
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless

from hospintel_core import dicom_child, dicom_codecs
from hospintel_core.dicom import read_dicom
from hospintel_core.errors import CoreError, DicomError, ImageError
from hospintel_core.imaging import MAX_PIXELS

PLAIN = np.array([[0, 100, 200], [300, 400, 500]], np.uint16)


def grey(data):
    return np.asarray(read_dicom(data, MAX_PIXELS)).tolist()


def code_of(data):
    with pytest.raises(ImageError) as caught:
        read_dicom(data, MAX_PIXELS)
    return caught.value.code


def table(first, entries, bits=16, count=None):
    item = Dataset()
    item.LUTDescriptor = [count or len(entries), first, bits]
    item.add_new("LUTData", "US", entries)
    return Sequence([item])


def shown(pixels, **options):
    return grey(dicom(pixels, stored=12, **options))


def test_without_a_window_the_values_that_occur_are_the_range():
    # 500 is white, so 100 is 255 / 5 = 51.
    assert shown(PLAIN) == [[0, 51, 102], [153, 204, 255]]
    assert shown(PLAIN + 1000) == [[0, 51, 102], [153, 204, 255]]
    assert shown(np.full((2, 2), 700, np.uint16)) == [[0, 0], [0, 0]]


def test_8_bit_samples_are_taken_as_they_are():
    pixels = np.array([[10, 20, 255], [30, 0, 40]], np.uint8)
    assert grey(dicom(pixels)) == pixels.tolist()
    assert grey(dicom(pixels, PhotometricInterpretation="MONOCHROME1")) == (255 - pixels).tolist()


def test_monochrome1_is_inverted_after_all_else():
    assert shown(PLAIN, PhotometricInterpretation="MONOCHROME1") == [[255, 204, 153], [102, 51, 0]]
    window = {"WindowCenter": 200.5, "WindowWidth": 201}
    assert shown(PLAIN, **window) == [[0, 0, 128], [255, 255, 255]]
    assert shown(PLAIN, PhotometricInterpretation="MONOCHROME1", **window) == [[255, 255, 127], [0, 0, 0]]


def test_a_linear_window_is_the_standards_formula():
    # PS3.3 C.11.2.1.2.1 at c = 300, w = 401: ((x - 299.5) / 400 + 0.5) * 255, so 100 is 0.31875 and 400 is 191.57.
    assert shown(PLAIN, WindowCenter=300, WindowWidth=401) == [[0, 0, 64], [128, 192, 255]]
    # A width of 1 is a threshold: up to c - 0.5 black, above it white.
    assert shown(PLAIN, WindowCenter=300.5, WindowWidth=1) == [[0, 0, 0], [0, 255, 255]]


def test_of_several_windows_the_first_counts():
    assert shown(PLAIN, WindowCenter=[300.5, 1], WindowWidth=[1, 4000]) == [[0, 0, 0], [0, 255, 255]]


def test_an_exact_window_and_a_sigmoid_one():
    # With c = 250 and w = 500 the share of x is x / 500.
    exact = {"WindowCenter": 250, "WindowWidth": 500, "VOILUTFunction": "LINEAR_EXACT"}
    assert shown(PLAIN, **exact) == [[0, 51, 102], [153, 204, 255]]
    # 255 / (1 + exp(-4 (x - 200) / 400)): at 0 exp(2), at 100 exp(1), at 200 a half, and mirrored above.
    sigmoid = {"WindowCenter": 200, "WindowWidth": 400, "VOILUTFunction": "SIGMOID"}
    assert shown(PLAIN, **sigmoid) == [[30, 69, 128], [186, 225, 243]]


def test_the_rescale_comes_before_the_window():
    # 2 x - 100 is -100, 100, 300, 500, 700, 900; (x - 400) / 1000 + 0.5 is 0, 0.2, 0.4, 0.6, 0.8, 1.
    window = {"WindowCenter": 400, "WindowWidth": 1000, "VOILUTFunction": "LINEAR_EXACT"}
    assert shown(PLAIN, RescaleSlope=2, RescaleIntercept=-100, **window) == [[0, 51, 102], [153, 204, 255]]
    # A slope below zero turns bright and dark around.
    assert shown(PLAIN, RescaleSlope=-1, RescaleIntercept=0) == [[255, 204, 153], [102, 51, 0]]


def test_signed_samples_are_below_zero():
    pixels = np.array([[-1000, -500], [0, 1000]], np.int16)
    assert grey(dicom(pixels)) == [[0, 64], [128, 255]]
    window = {"WindowCenter": 0, "WindowWidth": 2000, "VOILUTFunction": "LINEAR_EXACT"}
    assert grey(dicom(pixels, **window)) == [[0, 64], [128, 255]]
    # 12 bits in two's complement, whatever stands above them.
    twelve = np.array([[0x0800, 0xF800], [0x0000, 0x77FF]], np.uint16)
    assert grey(dicom(twelve, stored=12, signed=True)) == [[0, 0], [128, 255]]


def test_a_table_for_display_comes_before_a_window_and_ends_at_its_ends():
    # The table begins at 100: what lies below gets its first entry, what lies above its last.
    entries = [0] * 301
    entries[0], entries[100], entries[200], entries[300] = 25700, 51400, 65535, 12850
    options = {"VOILUTSequence": table(100, entries), "WindowCenter": 1, "WindowWidth": 2}
    assert shown(PLAIN, **options) == [[100, 100, 200], [255, 50, 50]]


def test_a_table_may_begin_below_zero():
    item = Dataset()
    item.add_new("LUTDescriptor", "SS", [4, -2, 16])
    item.add_new("LUTData", "US", [0, 25700, 51400, 65535])
    pixels = np.array([[-3, -2], [-1, 1]], np.int16)
    assert grey(dicom(pixels, VOILUTSequence=Sequence([item]))) == [[0, 0], [100, 255]]


def test_a_table_of_8_bits_may_be_packed():
    item = Dataset()
    item.LUTDescriptor = [4, 0, 8]
    item.add_new("LUTData", "OW", bytes([5, 60, 70, 250]))
    pixels = np.array([[0, 1], [2, 9]], np.uint16)
    assert shown(pixels, VOILUTSequence=Sequence([item])) == [[5, 60], [70, 250]]


def test_a_modality_table_replaces_the_rescale():
    pixels = np.array([[0, 1], [2, 3]], np.uint16)
    options = {"ModalityLUTSequence": table(0, [300, 200, 100, 0]), "RescaleSlope": 7, "RescaleIntercept": 7}
    assert shown(pixels, **options) == [[255, 170], [85, 0]]


def test_padding_is_black_and_does_not_count():
    pixels = np.array([[4000, 100], [200, 300]], np.uint16)
    assert shown(pixels, PixelPaddingValue=4000) == [[0, 0], [128, 255]]
    assert shown(pixels, PixelPaddingValue=4000, PhotometricInterpretation="MONOCHROME1") == [[0, 255], [127, 0]]
    assert shown(pixels, PixelPaddingValue="", PixelPaddingRangeLimit=4000) == shown(pixels)
    between = np.array([[4000, 4050], [100, 300]], np.uint16)
    assert shown(between, PixelPaddingValue=4000, PixelPaddingRangeLimit=4095) == [[0, 0], [0, 255]]


def test_overlays_in_the_unused_bits_are_cut_off():
    marked = PLAIN | np.array([[0xF000, 0, 0x1000], [0x8000, 0, 0]], np.uint16)
    assert grey(dicom(marked, stored=12)) == shown(PLAIN)


def test_implicit_files_and_an_odd_number_of_bytes():
    assert grey(dicom(PLAIN, stored=12, syntax=ImplicitVRLittleEndian)) == shown(PLAIN)
    odd = np.array([[1, 2, 3]], np.uint8)
    assert grey(dicom(odd)) == [[1, 2, 3]]
    assert grey(raw(*grey_header(1, 3, allocated=8, stored=8), pixels_of(bytes([1, 2, 3])))) == [[1, 2, 3]]


GREY = {"16": ramp(), "8": (ramp() // 16).astype(np.uint8), "signed": ramp().astype(np.int16) - 1000}


@pytest.mark.parametrize("kind", sorted(GREY))
@pytest.mark.parametrize(
    "syntax",
    [
        "JPEGLosslessProcess14",
        "JPEGLosslessProcess14_1",
        "JPEGLSLossless",
        "JPEG2000Lossless",
        "JPEG2000",
        "RLELossless",
    ],
)
def test_a_compressed_picture_is_the_one_that_went_in(syntax, kind, tmp_path):
    found = dataset(GREY[kind], stored=12 if kind == "16" else 0)
    assert grey(compressed(found, syntax, tmp_path)) == grey(encode(found))


@pytest.mark.parametrize("syntax", ["JPEGBaselineProcess1", "JPEGLSNearLossless"])
def test_a_lossy_picture_is_close_to_the_one_that_went_in(syntax, tmp_path):
    found = dataset(GREY["8"])
    difference = np.array(grey(compressed(found, syntax, tmp_path))) - np.array(grey(encode(found)))
    assert np.abs(difference).max() <= 8


def test_a_picture_in_pieces_is_put_together(tmp_path):
    whole = dataset(ramp(), stored=12)
    whole.compress(RLELossless)
    data = encode(whole)
    start = data.index(b"\xfe\xff\x00\xe0", data.rindex(b"\xe0\x7f\x10\x00") + 20)
    length = int.from_bytes(data[start + 4 : start + 8], "little")
    stream = data[start + 8 : start + 8 + length]
    pieces = [b"\xfe\xff\x00\xe0" + len(part).to_bytes(4, "little") + part for part in (stream[:100], stream[100:])]
    assert grey(data[:start] + b"".join(pieces) + data[start + 8 + length :]) == grey(dicom(ramp(), stored=12))


def test_a_stream_that_crashes_the_decoder_is_an_error_and_no_crash(tmp_path):
    data = bytearray(compressed(dataset(ramp(), stored=12), "JPEGLosslessProcess14_1", tmp_path))
    sampling = data.rindex(b"\xff\xc3\x00\x0b") + 11
    assert data[sampling] == 0x11
    data[sampling] = 0
    assert code_of(bytes(data)) == "dicom_undecodable"


def test_a_decoder_that_hangs_is_ended(tmp_path, monkeypatch):
    data = compressed(dataset(ramp(), stored=12), "JPEGLSLossless", tmp_path)
    monkeypatch.setattr(dicom_codecs, "WALL_SECONDS", 0.5)
    monkeypatch.setattr(dicom_codecs, "_START", "import sys, time; sys.stdin.buffer.read(); time.sleep(60)")
    assert code_of(data) == "dicom_undecodable"


def test_a_decoder_that_says_more_than_a_picture_is_not_listened_to(tmp_path, monkeypatch):
    data = compressed(dataset(ramp(), stored=12), "JPEGLSLossless", tmp_path)
    heard = tmp_path / "heard"
    endless = (
        "import pathlib, sys\nsys.stdin.buffer.read()\n"
        f"for _ in range(64): sys.stdout.buffer.write(bytes(1 << 20))\npathlib.Path({str(heard)!r}).touch()"
    )
    monkeypatch.setattr(dicom_codecs, "_START", endless)
    assert code_of(data) == "dicom_undecodable"
    assert not heard.exists()


@pytest.mark.parametrize(
    "act", ["open('/etc/passwd')", "__import__('socket').socket()", "os.fork()", "os.system('id')"]
)
def test_a_decoder_that_does_anything_else_is_ended(act, tmp_path, monkeypatch):
    """As GDCM would, if a stream made it do what its author likes."""
    canary = tmp_path / "canary"
    taken = f"c._decode = lambda *_: ({act}, open({str(canary)!r}, 'w'))\nc.main()"
    monkeypatch.setattr(dicom_codecs, "_START", dicom_codecs._START.replace("c.main()", f"import os\n{taken}"))
    assert code_of(compressed(dataset(ramp(), stored=12), "JPEGLSLossless", tmp_path)) == "dicom_undecodable"
    assert not canary.exists()


def test_a_decoder_that_cannot_start_is_no_fault_of_the_file(tmp_path, monkeypatch):
    data = compressed(dataset(ramp(), stored=12), "JPEGLSLossless", tmp_path)
    monkeypatch.setattr(dicom_codecs, "_START", "import a_module_that_is_not_there")
    with pytest.raises(RuntimeError, match="ended with 1"):
        read_dicom(data, MAX_PIXELS)


@pytest.mark.parametrize("module", [dicom_codecs, dicom_child], ids=["here", "apart"])
def test_the_systems_zlib_is_loaded_before_gdcms(module):
    """With the wrong order, writing a PNG ends in corrupted memory."""
    script = (
        f"import {module.__name__}\nmaps = open('/proc/self/maps').read()\nprint('libz.so' in maps, 'gdcm' in maps)\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-S", "-c", script], capture_output=True, text=True, env=env, check=True)
    assert done.stdout.split() == ["True", "False"]


REFUSED = {
    "two frames": ("dicom_frames", {"NumberOfFrames": 2}),
    "no frame": ("dicom_frames", {"NumberOfFrames": 0}),
    "colour": ("dicom_colour", {"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}),
    "a palette": ("dicom_colour", {"PhotometricInterpretation": "PALETTE COLOR"}),
    "no photometric": ("dicom_colour", {"PhotometricInterpretation": None}),
    "text in the picture": ("dicom_burned_in", {"BurnedInAnnotation": "YES"}),
    "no pixels": ("dicom_no_pixels", {"PixelData": None}),
    "no rows": ("dicom_pixels", {"Rows": 0}),
    "no columns": ("dicom_pixels", {"Columns": 0}),
    "rows not said": ("dicom_pixels", {"Rows": None}),
    "absurd size": ("image_too_large", {"Rows": 65535, "Columns": 65535}),
    "32 bits": ("dicom_pixels", {"BitsAllocated": 32}),
    "1 bit": ("dicom_pixels", {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}),
    "more stored than allocated": ("dicom_pixels", {"BitsStored": 17, "HighBit": 16}),
    "another high bit": ("dicom_pixels", {"HighBit": 15}),
    "an unknown sign": ("dicom_pixels", {"PixelRepresentation": 2}),
    "too few pixels": ("dicom_length", {"Rows": 3}),
    "too many pixels": ("dicom_length", {"Rows": 1}),
    "a window of no width": ("dicom_display", {"WindowCenter": 1, "WindowWidth": 0}),
    "an unknown function": ("dicom_display", {"WindowCenter": 1, "WindowWidth": 9, "VOILUTFunction": "CUBIC"}),
    "a slope of zero": ("dicom_display", {"RescaleSlope": 0, "RescaleIntercept": 0}),
    "two slopes": ("dicom_display", {"RescaleSlope": [1, 2]}),
    "an endless slope": ("dicom_display", {"RescaleSlope": "9e999"}),
    "a table of too few entries": ("dicom_display", {"VOILUTSequence": table(0, [1, 2, 3], count=4)}),
    "a table of 17 bits": ("dicom_display", {"VOILUTSequence": table(0, [1, 2, 3], bits=17)}),
    "entries beyond the table's bits": ("dicom_display", {"VOILUTSequence": table(0, [1, 2, 300], bits=8)}),
}


@pytest.mark.filterwarnings("ignore:.*:UserWarning:pydicom")
@pytest.mark.parametrize("name", sorted(REFUSED))
def test_it_is_refused_with_its_code(name):
    code, elements = REFUSED[name]
    found = dataset(PLAIN, stored=12)
    for keyword, value in elements.items():
        if value is None:
            delattr(found, keyword)
        else:
            setattr(found, keyword, value)
    assert code_of(encode(found)) == code


HEADER = grey_header()
PICTURE = pixels_of(PLAIN.tobytes())
ITEM, ITEM_END, END = (bytes([0xFE, 0xFF, number, 0xE0]) for number in (0x00, 0x0D, 0xDD))
UNDEFINED = 0xFFFFFFFF


def nested(depth):
    opening = element(0x00400275, b"SQ", b"", UNDEFINED) + ITEM + b"\xff\xff\xff\xff"
    return opening * depth + (ITEM_END + bytes(4) + END + bytes(4)) * depth


DAMAGED = {
    "only the magic": bytes(128) + b"DICM",
    "no transfer syntax": bytes(128) + b"DICM" + b"".join(HEADER) + PICTURE,
    "an empty transfer syntax": raw(*HEADER, PICTURE, syntax=b""),
    "an unknown transfer syntax": raw(*HEADER, PICTURE, syntax=b"1.2.840.10008.1.2.4.999\0"),
    "a video": raw(*HEADER, PICTURE, syntax=b"1.2.840.10008.1.2.4.102\0"),
    "12-bit JPEG": raw(*HEADER, PICTURE, syntax=b"1.2.840.10008.1.2.4.51\0"),
    "a transfer syntax that is no text": raw(*HEADER, PICTURE, syntax=b"\xff\xfe" * 8),
    "the transfer syntax twice": raw(element(0x00020010, b"UI", b"1.2.840.10008.1.2\0"), *HEADER, PICTURE),
    "an element twice": raw(*HEADER, short(0x00280010, 2), PICTURE),
    "an element of another kind": raw(*HEADER[:2], element(0x00280010, b"LO", b"SECRET"), *HEADER[3:], PICTURE),
    "a kind that is none": raw(element(0x00100010, b"p1", b"SECRET"), *HEADER, PICTURE),
    "a length beyond the end": raw(*HEADER, element(0x00321060, b"LO", b"SECRET", 60000), PICTURE),
    "pixels beyond the end": raw(*HEADER, pixels_of(PLAIN.tobytes(), 4000)),
    "a sequence without an end": raw(element(0x00400275, b"SQ", b"", UNDEFINED), *HEADER, PICTURE),
    "pixels of undefined length that are not compressed": raw(*HEADER, pixels_of(PLAIN.tobytes(), UNDEFINED)),
    "pixels that are said to be compressed and are not": raw(*HEADER, PICTURE, syntax=b"1.2.840.10008.1.2.5\0"),
    "a nest": raw(nested(400), *HEADER, PICTURE),
    "a value far too long": raw(*HEADER, element(0x00281050, b"DS", b"1" * 2000), PICTURE),
    "an item beyond its sequence": raw(
        *HEADER,
        element(0x00283010, b"SQ", ITEM + (10 + len(PICTURE)).to_bytes(4, "little") + short(0x00283002, 1)),
        PICTURE,
        PICTURE,
    ),
    "an element beyond its item": raw(
        *HEADER,
        element(0x00283010, b"SQ", ITEM + b"\x08\0\0\0" + element(0x00283006, b"US", b"", len(PICTURE)) + PICTURE),
        PICTURE,
    ),
    "a table beyond its item": raw(
        *HEADER, element(0x00283010, b"SQ", ITEM + (500).to_bytes(4, "little") + short(0x00283002, 1)), PICTURE
    ),
}


@pytest.mark.parametrize("name", sorted(DAMAGED))
def test_a_file_that_is_built_wrong_is_refused(name):
    with pytest.raises(DicomError) as caught:
        read_dicom(DAMAGED[name], MAX_PIXELS)
    assert caught.value.code in {"dicom_damaged", "dicom_syntax"}
    assert "SECRET" not in caught.value.detail


def test_a_nest_of_a_sane_depth_is_stepped_over():
    assert grey(raw(nested(10), *HEADER, PICTURE)) == shown(PLAIN)
    # An unknown kind of undefined length is a sequence in implicit form.
    unknown = element(0x00090010, b"UN", b"", UNDEFINED) + ITEM + b"\xff\xff\xff\xff"
    unknown += bytes([0x10, 0, 0x10, 0, 6, 0, 0, 0]) + b"SECRET" + ITEM_END + bytes(4) + END + bytes(4)
    assert grey(raw(unknown, *HEADER, PICTURE)) == shown(PLAIN)


def test_a_million_elements_are_refused_soon():
    assert code_of(raw(short(0x00091001, 1) * 1_000_000, *HEADER, PICTURE)) == "dicom_damaged"


def test_pictures_inside_of_sequences_are_not_this_picture():
    inner = b"".join([*grey_header(1, 1), pixels_of(b"\x07\x00")])
    icon = element(0x00080000 | 0x1140, b"SQ", ITEM + len(inner).to_bytes(4, "little") + inner)
    assert grey(raw(icon, *HEADER, PICTURE)) == shown(PLAIN)


@pytest.mark.parametrize("syntax", ["JPEG2000Lossless", "RLELossless"])
def test_a_damaged_stream_is_one_sentence_and_no_traceback_in_the_log(syntax, tmp_path, caplog):
    data = compressed(dataset(ramp(), stored=12), syntax, tmp_path)
    at = data.rindex(b"\xfe\xff\xdd\xe0")
    assert code_of(data[: at - 200] + bytes(200) + data[at:]) == "dicom_undecodable"
    assert caplog.records == []


@pytest.mark.parametrize("syntax", [ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_big_endian_and_deflated_files_are_not_read(syntax):
    assert code_of(raw(*HEADER, PICTURE, syntax=syntax.encode() + b"\0" * (len(syntax) % 2))) == "dicom_syntax"


@pytest.mark.parametrize("syntax", ["JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless"])
@pytest.mark.parametrize("tag", ["Rows", "Columns"])
def test_a_stream_of_another_size_than_announced_is_not_decoded(syntax, tag, tmp_path, monkeypatch):
    monkeypatch.setattr(dicom_codecs, "_decode_here", None)
    monkeypatch.setattr(dicom_codecs, "_decode_apart", None)
    data = compressed(dataset(ramp(), stored=12), syntax, tmp_path)
    head = (0x0028).to_bytes(2, "little") + (0x0010 if tag == "Rows" else 0x0011).to_bytes(2, "little") + b"US\2\0"
    at = data.index(head) + 8
    assert code_of(data[:at] + b"\x08\x00" + data[at + 2 :]) == "dicom_undecodable"


def test_every_refusal_is_an_image_error():
    assert issubclass(DicomError, ImageError)
    assert issubclass(ImageError, CoreError)
