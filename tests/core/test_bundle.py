import io
import zipfile

import numpy as np
import pytest
from dicom_files import dicom, ramp
from PIL import Image

from hospintel_core.architectures import CLASSES
from hospintel_core.bundle import Refused, Taken, is_bundle, read_bundle
from hospintel_core.dataset import class_of
from hospintel_core.errors import DatasetError


def png(seed=0):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 20), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def zipped(files, method=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def code_of(data):
    with pytest.raises(DatasetError) as caught:
        read_bundle(data, CLASSES)
    assert "SECRET" not in caught.value.detail + caught.value.hint
    return caught.value.code


def items_of(data):
    with read_bundle(data, CLASSES) as bundle:
        return list(bundle), bundle.ignored


def test_scans_come_with_their_classes_and_refusals_with_their_codes():
    files = {
        "scans/Glioma/a.png": png(1),
        "scans/no_tumor/b.dcm": dicom(ramp(), stored=12),
        "scans/__MACOSX/glioma/._a.png": b"x",
        "scans/notumor/.DS_Store": b"x",
        "scans/readme.txt": b"x",
        "scans/pituitary_tumor/SECRET.png": b"not an image",
        "scans/meningioma/c.zip": zipped({"glioma/a.png": png()}),
    }
    items, ignored = items_of(zipped(files))
    assert ignored == 3
    taken = {item.number: (item.label, item.scan.kind) for item in items if isinstance(item, Taken)}
    assert taken == {1: (0, "png"), 2: (2, "dicom")}
    refused = {item.number: (item.label, item.code) for item in items if isinstance(item, Refused)}
    assert refused == {6: (3, "image_mismatch"), 7: (1, "entry_nested")}
    assert "SECRET" not in repr(items)


def test_without_class_folders_somebody_has_to_say_the_class():
    for files in ({"a.png": png(1), "b.png": png(2)}, {"scans/a.png": png(1), "scans/b.png": png(2)}):
        items, _ = items_of(zipped(files))
        assert [item.label for item in items] == [None, None]


def test_a_zip_is_told_by_its_content():
    assert is_bundle(zipped({"a": b"x"}))
    assert is_bundle(zipped({}))
    assert not is_bundle(png())
    assert not is_bundle(b"")


@pytest.mark.parametrize(
    ("folder", "label"),
    [
        ("glioma", 0),
        ("Glioma_Tumor", 0),
        ("MENINGIOMA tumour", 1),
        ("notumor", 2),
        ("No-Tumor", 2),
        ("no tumour", 2),
        ("pituitary", 3),
        ("tumor", None),
        ("normal", None),
        ("", None),
    ],
)
def test_a_folder_means_a_class(folder, label):
    assert class_of(folder, CLASSES) == label


def test_a_zip_may_be_a_file(tmp_path):
    path = tmp_path / "scans.zip"
    path.write_bytes(zipped({"glioma/a.png": png()}))
    with path.open("rb") as file, read_bundle(file, CLASSES) as bundle:
        assert len(bundle) == 1
        assert [item.label for item in bundle] == [0]


def test_a_folder_that_is_no_class_is_refused_without_its_name():
    assert code_of(zipped({"glioma/a.png": png(), "SECRET/b.png": png()})) == "unknown_class"


def test_an_empty_zip_and_no_zip_are_refused():
    assert code_of(zipped({})) == "no_scans"
    assert code_of(zipped({"glioma/.hidden": b""})) == "no_scans"
    assert code_of(b"") == "dataset_unreadable"
    assert code_of(png()) == "dataset_unreadable"
