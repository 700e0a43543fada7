import io

import numpy as np
from PIL import Image

from hospintel_core import architectures, phantoms
from hospintel_core.architectures import CLASSES
from hospintel_core.backbone import PixelsBackbone
from hospintel_core.dataset import is_validation, open_dataset
from hospintel_core.features import extract
from hospintel_core.survey import survey


def png(seed):
    buffer = io.BytesIO()
    phantoms.draw(seed % 4, np.random.default_rng(seed), 32).save(buffer, "PNG")
    return buffer.getvalue()


def messy(root):
    """Class folders with everything that can be wrong in them, and an empty one."""
    files = {f"{CLASSES[n % 3]}/{n:02}.png": png(n) for n in range(30)}
    files |= {f"glioma/again-{n}.png": files["glioma/00.png"] for n in range(2)}
    files |= {"glioma/both.png": png(40), "meningioma/both.png": png(40)}
    files |= {"notumor/cut.png": png(50)[:200], "notumor/empty.png": b"", "notumor/notes.txt": b"see chart"}
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    (root / "pituitary").mkdir()
    return root


def test_a_survey_counts_exactly_what_training_would_take_and_leave_out(tmp_path):
    seen = []
    with open_dataset(messy(tmp_path), CLASSES) as dataset:
        found = survey(dataset, len(CLASSES), lambda done, total: seen.append((done, total)))
        taken = extract(dataset, architectures.get("pixels-head16"), PixelsBackbone)
    assert found.usable == tuple(np.bincount(taken.labels, minlength=4).tolist()) == (10, 10, 10, 0)
    validating = [label for label, digest in zip(taken.labels, taken.digests, strict=True) if is_validation(digest)]
    assert found.validation == tuple(np.bincount(validating, minlength=4).tolist())
    assert found.problems == taken.problems
    assert sum(len(names) - 1 for names in found.copies) == taken.duplicates == 2
    assert found.copies == (("glioma/00.png", "glioma/again-0.png", "glioma/again-1.png"),)
    assert seen[-1] == (33, 33)


def test_every_problem_has_its_file_and_code(tmp_path):
    with open_dataset(messy(tmp_path), CLASSES) as dataset:
        found = survey(dataset, len(CLASSES))
    assert [(problem.name, problem.code) for problem in found.problems] == [
        ("glioma/both.png", "conflicting_label"),
        ("meningioma/both.png", "conflicting_label"),
        ("notumor/cut.png", "image_unreadable"),
        ("notumor/empty.png", "image_empty"),
        ("notumor/notes.txt", "image_format"),
    ]


def test_the_largest_picture_that_is_read_is_not_kept(tmp_path):
    (tmp_path / "glioma").mkdir()
    Image.new("L", (5000, 5000)).save(tmp_path / "glioma" / "large.png")
    with open_dataset(tmp_path, CLASSES) as dataset:
        assert survey(dataset, len(CLASSES)).usable == (1, 0, 0, 0)


def test_the_same_broken_file_in_two_classes_is_broken_and_no_matter_of_classes(tmp_path):
    for name in ("glioma/empty.png", "notumor/empty.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    with open_dataset(tmp_path, CLASSES) as dataset:
        found = survey(dataset, len(CLASSES))
        taken = extract(dataset, architectures.get("pixels-head16"), PixelsBackbone)
    assert [(problem.name, problem.code) for problem in found.problems] == [
        ("glioma/empty.png", "image_empty"),
        ("notumor/empty.png", "image_empty"),
    ]
    assert found.problems == taken.problems
