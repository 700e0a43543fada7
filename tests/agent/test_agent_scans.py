"""The hospital's scans: the fixed split, broken files, too few of them, and what is kept between rounds."""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from client_agent_parts import local_scans

from client_agent.clock import Stop, StopRequested
from client_agent.console import LineDisplay, Stage
from client_agent.errors import DataError
from hospintel_core.architectures import CLASSES, get
from hospintel_core.dataset import is_validation
from hospintel_core.errors import DatasetError
from hospintel_core.imaging import content_digest

PIXELS = get("pixels-head16")


@pytest.fixture
def data(tmp_path: Path, scans: Path) -> Path:
    shutil.copytree(scans, tmp_path / "data")
    return tmp_path / "data"


def test_the_validation_part_is_chosen_by_content_alone(data: Path, tmp_path: Path) -> None:
    split = local_scans(data, tmp_path).split(PIXELS)
    files = list(data.glob("*/*.png"))
    expected = sum(is_validation(content_digest(path.read_bytes())) for path in files)
    assert (len(split.validation_labels), len(split.train_labels)) == (expected, len(files) - expected)
    for number, path in enumerate(files):
        path.rename(path.with_name(f"renamed-{number}.png"))
    again = local_scans(data, tmp_path).split(PIXELS)
    assert len(again.validation_labels) == expected


def test_broken_files_are_named_and_skipped(data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = sorted(data.glob("glioma/*.png"))[:8]
    for path in files:
        path.write_bytes(b"no image, file " + path.name.encode())
    split = local_scans(data, tmp_path).split(PIXELS)
    assert len(split.train_labels) + len(split.validation_labels) == 40
    messages = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert messages[0].startswith(f"skipped glioma/{files[0].name}: ")
    assert messages[-1] == "skipped 3 more, in all: 8 image_format"
    assert len(messages) == 6


def test_fewer_than_twenty_usable_scans_are_not_trained_on(data: Path, tmp_path: Path) -> None:
    for path in sorted(data.glob("*/*.png"))[19:]:
        path.write_bytes(b"broken " + path.name.encode())
    with pytest.raises(DataError) as caught:
        local_scans(data, tmp_path).split(PIXELS)
    assert caught.value.code == "too_few_scans"
    assert "19 usable scans" in caught.value.detail


def test_the_check_at_the_start_counts_names(data: Path, tmp_path: Path) -> None:
    local_scans(data, tmp_path).check()
    for path in sorted(data.glob("*/*.png"))[19:]:
        path.unlink()
    with pytest.raises(DataError):
        local_scans(data, tmp_path).check()


def test_a_folder_of_other_classes_is_refused(tmp_path: Path) -> None:
    for name in ("glioma", "unicorn"):
        (tmp_path / "data" / name).mkdir(parents=True)
    with pytest.raises(DatasetError, match="unicorn"):
        local_scans(tmp_path / "data", tmp_path).check()


def test_features_stay_in_memory_until_the_data_change(data: Path, tmp_path: Path) -> None:
    local = local_scans(data, tmp_path)
    first = local.split(PIXELS)
    assert local.split(PIXELS) is first
    (data / CLASSES[0] / "new.png").write_bytes((data / CLASSES[0] / "glioma-0000.png").read_bytes() + b"\0")
    second = local.split(PIXELS)
    assert len(second.train_labels) + len(second.validation_labels) == 49


def test_a_second_agent_finds_the_features_of_the_first_on_disk(data: Path, tmp_path: Path) -> None:
    local_scans(data, tmp_path).split(PIXELS)
    assert len(list((tmp_path / "features").rglob("*.f32"))) == 48


def test_a_cache_that_cannot_be_written_is_done_without(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "features").write_text("a file where the folder should be")
    split = local_scans(data, tmp_path).split(PIXELS)
    assert len(split.train_labels) + len(split.validation_labels) == 48
    assert sum("not cached any more" in message for message in caplog.messages) == 1


def test_a_zip_file_is_as_good_as_a_folder(data: Path, tmp_path: Path) -> None:
    archive = shutil.make_archive(str(tmp_path / "scans"), "zip", data)
    split = local_scans(Path(archive), tmp_path).split(PIXELS)
    assert len(split.train_labels) + len(split.validation_labels) == 48


def test_a_request_to_stop_ends_the_extraction_between_two_scans(data: Path, tmp_path: Path) -> None:
    stop = Stop()
    stop.requested = True
    with pytest.raises(StopRequested):
        local_scans(data, tmp_path, stop).split(PIXELS)


def test_mirrored_features_lie_beside_the_training_part(data: Path, tmp_path: Path) -> None:
    local = local_scans(data, tmp_path)
    plain = local.split(PIXELS)
    both = local.split(PIXELS, mirror=True)
    assert plain.train_mirrored is None
    assert both.train_features is plain.train_features
    assert both.train_mirrored is not None
    size = PIXELS.input_size
    turned = both.train_features.reshape(-1, size, size)[:, :, ::-1].reshape(-1, size * size)
    # The base of this architecture is the scan itself, so its mirror image is known.
    np.testing.assert_array_equal(both.train_mirrored, turned)
    assert local.split(PIXELS, mirror=True) is both
    assert local.split(PIXELS) is both


def test_a_scan_that_is_changed_between_the_two_views_is_read_again(data: Path, tmp_path: Path) -> None:
    def digest_of(path: Path) -> str:
        return content_digest(path.read_bytes())

    class Copying(LineDisplay):
        """Somebody takes a scan out of the folder just when the mirrored ones are begun."""

        left = 2

        @contextmanager
        def stage(self, name: str, unit: str) -> Iterator[Stage]:
            if name == "mirrored scans" and self.left:
                self.left -= 1
                next(path for path in sorted(data.glob("*/*.png")) if not is_validation(digest_of(path))).unlink()
            with super().stage(name, unit) as show:
                yield show

    display = Copying(logging.getLogger("client_agent"))
    local = local_scans(data, tmp_path, display=display)
    split = local.split(PIXELS, mirror=True)
    files = [path for path in sorted(data.glob("*/*.png")) if not is_validation(digest_of(path))]
    assert len(split.train_labels) == len(files)
    assert split.train_mirrored is not None
    display.left = 3
    (data / CLASSES[0] / "new.png").write_bytes(files[0].read_bytes() + b"\0")
    with pytest.raises(DataError) as caught:
        local.split(PIXELS, mirror=True)
    assert caught.value.code == "data_changed"
