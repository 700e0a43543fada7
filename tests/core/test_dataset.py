import hashlib
import os
import stat
import zipfile

import pytest

from hospintel_core import dataset
from hospintel_core.architectures import CLASSES
from hospintel_core.dataset import is_validation, open_dataset
from hospintel_core.errors import DatasetError

FILES = {"glioma/a.png": b"1", "glioma/b.png": b"2", "notumor/c.png": b"3", "pituitary/deep/d.png": b"4"}


def folder_of(root, files):
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def zip_of(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


@pytest.fixture(params=["folder", "zip"])
def make(request, tmp_path):
    def build(files):
        if request.param == "folder":
            return folder_of(tmp_path / "scans", files)
        return zip_of(tmp_path / "scans.zip", files)

    return build


def code_of(path):
    with pytest.raises(DatasetError) as caught:
        open_dataset(path, CLASSES)
    return caught.value.code


def read_all(path):
    with open_dataset(path, CLASSES) as found:
        return {scan.name: (scan.label, scan.read()) for scan in found.scans}


EXPECTED = {
    "glioma/a.png": (0, b"1"),
    "glioma/b.png": (0, b"2"),
    "notumor/c.png": (2, b"3"),
    "pituitary/deep/d.png": (3, b"4"),
}


def test_scans_are_found_by_their_class_folder(make):
    assert read_all(make(FILES)) == EXPECTED


def test_one_enclosing_folder_is_looked_through(make):
    assert read_all(make({f"train/{name}": data for name, data in FILES.items()})) == EXPECTED


def test_class_folders_are_told_apart_from_their_case(make):
    assert read_all(make({"Glioma/a.png": b"1"})) == {"Glioma/a.png": (0, b"1")}


def test_a_single_class_folder_is_not_mistaken_for_an_enclosing_one(make):
    assert read_all(make({"glioma/patient/a.png": b"1"})) == {"glioma/patient/a.png": (0, b"1")}


def test_hidden_files_and_system_clutter_are_skipped(make):
    clutter = dict.fromkeys(
        ["__MACOSX/glioma/._a.png", ".git/x", "glioma/.DS_Store", "glioma/Thumbs.db", "README.txt"], b"x"
    )
    assert read_all(make(FILES | clutter)) == EXPECTED


def test_an_unknown_class_folder_is_named_together_with_the_known_ones(make):
    with pytest.raises(DatasetError) as caught:
        open_dataset(make(FILES | {"astrocytoma/x.png": b"x"}), CLASSES)
    assert caught.value.code == "unknown_class"
    assert "'astrocytoma'" in caught.value.detail
    assert "glioma, meningioma, notumor, pituitary" in caught.value.hint


def test_scans_without_any_class_folder_are_refused(make):
    assert code_of(make({"a.png": b"1", "b.png": b"2"})) == "no_classes"


def test_class_folders_without_a_scan_are_refused(tmp_path):
    (tmp_path / "empty" / "glioma").mkdir(parents=True)
    assert code_of(tmp_path / "empty") == "no_scans"
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as archive:
        archive.mkdir("glioma")
    assert code_of(tmp_path / "empty.zip") == "no_scans"


def test_two_split_folders_at_once_are_refused_as_unknown_classes(make):
    assert code_of(make({"train/glioma/a.png": b"1", "test/glioma/b.png": b"2"})) == "unknown_class"


def test_a_missing_path_and_a_file_that_is_no_zip_are_refused(tmp_path):
    assert code_of(tmp_path / "nowhere") == "dataset_missing"
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 but no more")
    assert code_of(tmp_path / "broken.zip") == "dataset_unreadable"


@pytest.mark.parametrize(
    "name", ["../glioma/a.png", "/glioma/a.png", "glioma/../../a.png", "glioma\\..\\a.png", "C:/glioma/a.png"]
)
def test_a_zip_with_a_name_that_leaves_its_folder_is_refused(tmp_path, name):
    assert code_of(zip_of(tmp_path / "evil.zip", FILES | {name: b"x"})) == "unsafe_entry"


def test_a_zip_with_a_link_is_refused(tmp_path):
    link = zipfile.ZipInfo("glioma/link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    path = zip_of(tmp_path / "link.zip", FILES)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    assert code_of(path) == "unsafe_entry"


def test_a_zip_entry_that_unpacks_to_far_more_than_its_size_is_refused_unread(tmp_path):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("glioma/a.png", bytes(50 * 1024 * 1024))
    assert path.stat().st_size < 100_000
    assert code_of(path) == "entry_too_large"


def test_an_entry_that_lies_about_its_size_is_not_unpacked_further(tmp_path):
    path = tmp_path / "lie.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("glioma/a.png", bytes(5_000_000))
    data = bytearray(path.read_bytes())
    size = (5_000_000).to_bytes(4, "little")
    while size in data:
        at = data.index(size)
        data[at : at + 4] = (1000).to_bytes(4, "little")
    path.write_bytes(data)
    with open_dataset(path, CLASSES) as found, pytest.raises(DatasetError) as caught:
        found.scans[0].read()
    assert caught.value.code == "scan_unreadable"


def test_too_many_entries_are_refused(make, monkeypatch):
    monkeypatch.setattr(dataset, "MAX_ENTRIES", 3)
    assert code_of(make(FILES)) == "too_many_entries"


def test_a_damaged_entry_is_an_error_of_that_scan_alone(tmp_path):
    path = zip_of(tmp_path / "scans.zip", {"glioma/a.png": b"first scan", "glioma/b.png": b"second scan"})
    path.write_bytes(path.read_bytes().replace(b"first scan", b"fIrst scan"))
    with open_dataset(path, CLASSES) as found:
        first, second = found.scans
        with pytest.raises(DatasetError) as caught:
            first.read()
        assert caught.value.code == "scan_unreadable"
        assert second.read() == b"second scan"


def test_an_encrypted_entry_is_an_error_of_that_scan_alone(tmp_path):
    path = zip_of(tmp_path / "scans.zip", {"glioma/a.png": b"x"})
    data = bytearray(path.read_bytes())
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(magic) + offset] |= 1
    path.write_bytes(data)
    with open_dataset(path, CLASSES) as found, pytest.raises(DatasetError) as caught:
        found.scans[0].read()
    assert caught.value.code == "entry_encrypted"


def test_a_scan_over_the_byte_limit_is_an_error_of_that_scan_alone(make, monkeypatch):
    monkeypatch.setattr(dataset, "MAX_FILE_BYTES", 2)
    with open_dataset(make({"glioma/a.png": b"123", "glioma/b.png": b"12"}), CLASSES) as found:
        with pytest.raises(DatasetError) as caught:
            found.scans[0].read()
        assert caught.value.code == "entry_too_large"
        assert found.scans[1].read() == b"12"


def test_a_file_that_vanished_is_an_error_of_that_scan_alone(tmp_path):
    root = folder_of(tmp_path / "scans", FILES)
    with open_dataset(root, CLASSES) as found:
        (root / "glioma/a.png").unlink()
        with pytest.raises(DatasetError) as caught:
            found.scans[0].read()
    assert caught.value.code == "scan_unreadable"


def test_a_linked_folder_is_not_walked_into(tmp_path):
    root = folder_of(tmp_path / "scans", FILES)
    folder_of(tmp_path / "elsewhere", {"z.png": b"z"})
    (root / "glioma" / "linked").symlink_to(tmp_path / "elsewhere")
    assert read_all(root) == EXPECTED


def test_about_a_fifth_of_the_scans_are_kept_for_validation():
    kept = sum(is_validation(hashlib.sha256(str(number).encode()).hexdigest()) for number in range(5000))
    assert 0.18 < kept / 5000 < 0.22


def test_the_validation_split_never_moves():
    assert is_validation("33333333" + "0" * 56)
    assert not is_validation("33333334" + "0" * 56)


def test_a_pipe_among_the_scans_is_named_and_not_waited_for(tmp_path):
    root = folder_of(tmp_path / "scans", FILES)
    os.mkfifo(root / "glioma" / "pipe.png")
    with open_dataset(root, CLASSES) as found:
        (scan,) = [scan for scan in found.scans if scan.name == "glioma/pipe.png"]
        with pytest.raises(DatasetError, match="not a regular file") as caught:
            scan.read()
    assert caught.value.code == "scan_unreadable"
