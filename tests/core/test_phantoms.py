import numpy as np
import pytest

from hospintel_core import architectures, phantoms, training
from hospintel_core.architectures import CLASSES
from hospintel_core.backbone import load_backbone
from hospintel_core.dataset import open_dataset
from hospintel_core.imaging import content_digest, read_scan, to_input
from hospintel_core.plan import Plan

PIXELS = architectures.get("pixels-head16")


def test_a_phantom_is_a_grey_image_of_the_asked_size():
    image = phantoms.draw(0, np.random.default_rng(1))
    assert (image.mode, image.size) == ("L", (224, 224))
    assert phantoms.draw(1, np.random.default_rng(1), size=64).size == (64, 64)


@pytest.mark.parametrize("label", range(4))
def test_a_seed_draws_one_phantom_and_another_seed_another(label):
    one, same, other = (phantoms.draw(label, np.random.default_rng(seed)).tobytes() for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_the_lesions_lie_where_their_class_has_them():
    """The mean difference to lesion-free heads, on a coarse grid, peaks in the class's own region."""
    means = [
        np.mean(
            [np.asarray(phantoms.draw(label, np.random.default_rng((7, label, n)), 64), float) for n in range(40)], 0
        )
        for label in range(4)
    ]
    glioma, meningioma, pituitary = (means[label] - means[2] for label in (0, 1, 3))
    row, column = np.unravel_index(pituitary.argmax(), pituitary.shape)
    assert row > 42
    assert 28 <= column <= 36
    assert np.unravel_index(meningioma.argmax(), meningioma.shape)[0] < 30
    assert 20 < np.unravel_index(glioma.argmin(), glioma.shape)[0] < 44
    assert abs(np.unravel_index(glioma.argmin(), glioma.shape)[1] - 32) > 4


def test_a_folder_of_phantoms_is_a_dataset(tmp_path):
    phantoms.write_folder(tmp_path, 3, seed=5)
    with open_dataset(tmp_path, CLASSES) as found:
        assert [scan.label for scan in found.scans] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
        data = [scan.read() for scan in found.scans]
    assert len({content_digest(scan) for scan in data}) == 12
    assert read_scan(data[0]).size == (224, 224)


def test_a_folder_can_hold_some_of_the_classes(tmp_path):
    phantoms.write_folder(tmp_path, 1, seed=5, classes=("notumor", "pituitary"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notumor", "pituitary"]
    whole = tmp_path / "whole"
    phantoms.write_folder(whole, 1, seed=5)
    assert (whole / "pituitary/pituitary-0000.png").read_bytes() == (
        tmp_path / "pituitary/pituitary-0000.png"
    ).read_bytes()


def learned_accuracy(architecture, plan, seed, per_class):
    """Accuracy on fresh phantoms after training on others; ``per_class`` counts (training, test)."""
    backbone = load_backbone(architecture)
    labels, features = [], []
    for part, count in enumerate(per_class):
        images = [
            to_input(phantoms.draw(label, np.random.default_rng((part, label, n)), 128), architecture)
            for label in range(4)
            for n in range(count)
        ]
        labels.append(np.repeat(np.arange(4), count))
        features.append(backbone.features(np.stack(images)))
    start = architectures.initial_head(architecture, seed)
    head, _ = training.train_head(architecture, start, features[0], labels[0], plan, seed=seed)
    return training.evaluate_head(architecture, head, features[1], labels[1]).accuracy


def test_pixels_alone_tell_phantoms_apart_far_better_than_chance():
    assert learned_accuracy(PIXELS, Plan(epochs=10, learning_rate=3e-3), 2, (60, 40)) > 0.55


def test_the_default_architecture_learns_phantoms_well():
    assert learned_accuracy(architectures.get("vgg16-head256"), Plan(epochs=15), 1, (16, 8)) > 0.7
