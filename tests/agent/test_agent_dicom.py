"""A hospital whose scans are DICOM files as its archive exports them."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from agent_program import Command
from client_agent_parts import local_scans
from dicom_files import compressed, dataset, dicom, ramp
from PIL import Image

from hospintel_core.architectures import CLASSES, get

PIXELS = get("pixels-head16")
SECRET = "Doe^Jane"


def _pictures(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(4)
    return [rng.integers(0, 256, (40, 40)).astype(np.uint8) for _ in range(count)]


def _folder(root: Path, kind: str) -> Path:
    """24 scans: as PNG, or the same pixels as DICOM with and without an ending and a compression."""
    for number, pixels in enumerate(_pictures(24)):
        folder = root / CLASSES[number % 4]
        folder.mkdir(parents=True, exist_ok=True)
        if kind == "png":
            Image.fromarray(pixels).save(folder / f"{number}.png")
        elif number % 3 == 2:
            found = compressed(dataset(pixels, PatientName=SECRET), "JPEGLSLossless", root)
            (folder / f"{number}.dcm").write_bytes(found)
        else:
            (folder / (f"{number}.dcm" if number % 3 else f"IM{number:04}")).write_bytes(
                dicom(pixels, PatientName=SECRET)
            )
    return root


def test_a_folder_of_dicom_files_is_as_good_as_one_of_pictures(tmp_path: Path) -> None:
    features = []
    for kind in ("png", "dicom"):
        split = local_scans(_folder(tmp_path / kind, kind), tmp_path).split(PIXELS)
        features.append(np.concatenate([split.train_features, split.validation_features]))
    # The split is by the files' content, so only the order differs.
    assert len(features[0]) == 24
    assert sorted(map(bytes, features[0])) == sorted(map(bytes, features[1]))


def test_the_second_start_takes_dicom_features_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = _folder(tmp_path / "data", "dicom")
    first = local_scans(data, tmp_path).split(PIXELS)
    monkeypatch.setattr("hospintel_core.features.read_scan", None)
    second = local_scans(data, tmp_path).split(PIXELS)
    assert np.array_equal(first.train_features, second.train_features)


def test_a_dicom_file_that_cannot_be_used_is_named_with_its_code_and_nothing_of_its_header(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = _folder(tmp_path / "data", "dicom")
    bad = {
        "frames": dicom(ramp(), stored=12, NumberOfFrames=3, PatientName=SECRET),
        "text": dicom(ramp(), stored=12, BurnedInAnnotation="YES", PatientName=SECRET),
    }
    for name, content in bad.items():
        (data / "glioma" / name).write_bytes(content)
    local_scans(data, tmp_path).split(PIXELS)
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert [line.split(":")[0] for line in told] == ["skipped glioma/frames", "skipped glioma/text"]
    assert "(dicom_frames)" in told[0]
    assert "(dicom_burned_in)" in told[1]
    assert SECRET not in caplog.text


def test_the_doctor_counts_dicom_files(command: Command, tmp_path: Path) -> None:
    data = _folder(tmp_path / "data", "dicom")
    (data / "glioma" / "cut.dcm").write_bytes(dicom(ramp(), stored=12, PatientName=SECRET)[:-100])
    done = command.run("doctor", "--home", str(tmp_path / "none"), "--data", str(data), "--json")
    checks = {check["check"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["scans"]["found"].startswith("24 usable: 6 glioma")
    assert checks["files"]["facts"]["files"] == [{"name": "glioma/cut.dcm", "code": "dicom_damaged"}]
    assert SECRET not in done.stdout + done.stderr
