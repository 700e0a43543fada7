import io

import numpy as np
import pytest
from PIL import Image

from hospintel_core import architectures, phantoms
from hospintel_core.architectures import CLASSES
from hospintel_core.backbone import PixelsBackbone
from hospintel_core.dataset import open_dataset
from hospintel_core.features import BATCH, FeatureCache, extract
from hospintel_core.imaging import content_digest, read_scan, to_input

PIXELS = architectures.get("pixels-head16")


class CountingBackbone(PixelsBackbone):
    """The pixels base, with a record of the batches that it was asked for."""

    def __init__(self):
        self.batches = []

    def features(self, images):
        self.batches.append(len(images))
        return super().features(images)


def never():
    pytest.fail("the base was loaded although nothing was missing")


def png(seed):
    buffer = io.BytesIO()
    phantoms.draw(seed % 4, np.random.default_rng(seed), 32).save(buffer, "PNG")
    return buffer.getvalue()


def write(root, files):
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def run(root, backbone=None, cache=None, on_progress=None, **chosen):
    with open_dataset(root, CLASSES) as found:
        return extract(found, PIXELS, backbone or PixelsBackbone, cache, on_progress, **chosen)


@pytest.fixture
def cache(tmp_path):
    return FeatureCache(tmp_path / "cache", PixelsBackbone.digest, PIXELS.name)


def test_features_come_in_the_datasets_order_with_labels_digests_and_names(tmp_path):
    files = {f"{CLASSES[n % 4]}/{n:02}.png": png(n) for n in range(10)}
    found = run(write(tmp_path / "scans", files))
    assert found.names == tuple(sorted(files))
    assert found.digests == tuple(content_digest(files[name]) for name in found.names)
    assert found.labels.tolist() == [CLASSES.index(name.split("/")[0]) for name in found.names]
    expected = [PixelsBackbone().features(to_input(read_scan(files[name]), PIXELS)[None])[0] for name in found.names]
    assert np.array_equal(found.features, expected)
    assert found.features.dtype == np.float32
    assert (found.problems, found.duplicates, len(found)) == ((), 0, 10)


def test_the_base_is_asked_in_batches_and_loaded_once(tmp_path):
    files = {f"glioma/{n:02}.png": png(n) for n in range(2 * BATCH + 5)}
    backbone = CountingBackbone()
    loads = []

    def load():
        loads.append(1)
        return backbone

    assert len(run(write(tmp_path / "scans", files), load)) == 2 * BATCH + 5
    assert backbone.batches == [BATCH, BATCH, 5]
    assert loads == [1]


def test_a_second_run_takes_everything_from_the_cache(tmp_path, cache):
    root = write(tmp_path / "scans", {f"glioma/{n}.png": png(n) for n in range(5)})
    first = run(root, cache=cache)
    second = run(root, never, cache)
    assert np.array_equal(first.features, second.features)
    assert first.digests == second.digests


def test_a_new_scan_is_the_only_one_computed(tmp_path, cache):
    root = write(tmp_path / "scans", {f"glioma/{n}.png": png(n) for n in range(5)})
    run(root, cache=cache)
    write(root, {"glioma/2b.png": png(20)})
    backbone = CountingBackbone()
    found = run(root, lambda: backbone, cache)
    assert backbone.batches == [1]
    assert np.array_equal(found.features, run(root).features)


def test_a_renamed_scan_stays_cached(tmp_path, cache):
    root = write(tmp_path / "scans", {"glioma/a.png": png(1)})
    run(root, cache=cache)
    (root / "glioma/a.png").rename(root / "glioma/z.png")
    assert run(root, never, cache).names == ("glioma/z.png",)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-4],
        lambda data: data + b"\0\0\0\0",
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: bytes([data[0] ^ 1]) + data[1:],
        lambda data: b"",
    ],
    ids=["short", "long", "bit of a value", "bit of the checksum", "empty"],
)
def test_a_damaged_cache_file_is_computed_again(tmp_path, cache, damage):
    root = write(tmp_path / "scans", {f"glioma/{n}.png": png(n) for n in range(3)})
    first = run(root, cache=cache)
    path = next(path for path in cache.folder.rglob("*.f32") if path.stem == first.digests[1])
    path.write_bytes(damage(path.read_bytes()))
    backbone = CountingBackbone()
    found = run(root, lambda: backbone, cache)
    assert backbone.batches == [1]
    assert np.array_equal(found.features, first.features)
    run(root, never, cache)


def test_another_base_or_architecture_has_a_cache_of_its_own(tmp_path):
    caches = [
        FeatureCache(tmp_path, digest, name)
        for digest, name in (("a" * 64, "one"), ("b" * 64, "one"), ("a" * 64, "two"))
    ]
    caches[0].write("00ff", np.ones(3, np.float32))
    out = np.zeros(3, np.float32)
    assert [cache.read("00ff", out) for cache in caches] == [True, False, False]


def test_no_unfinished_file_is_left_in_the_cache(tmp_path, cache):
    run(write(tmp_path / "scans", {"glioma/a.png": png(1)}), cache=cache)
    assert [path.suffix for path in cache.folder.rglob("*") if path.is_file()] == [".f32"]


def test_broken_files_are_reported_and_the_rest_is_kept(tmp_path, cache):
    files = {f"notumor/{n:02}.png": png(n) for n in range(40)}
    broken = {
        "notumor/05.png": png(5)[:100],
        "notumor/06.png": b"",
        "notumor/07.png": b"not an image",
        "notumor/39.png": png(39)[:60],
    }
    root = write(tmp_path / "scans", files | broken)
    for _ in range(2):
        found = run(root, cache=cache)
        assert [(problem.name, problem.code) for problem in found.problems] == [
            ("notumor/05.png", "image_unreadable"),
            ("notumor/06.png", "image_empty"),
            ("notumor/07.png", "image_format"),
            ("notumor/39.png", "image_unreadable"),
        ]
        assert all(problem.detail for problem in found.problems)
        assert found.names == tuple(sorted(set(files) - set(broken)))
        for row, name in zip(found.features, found.names, strict=True):
            assert np.array_equal(row, PixelsBackbone().features(to_input(read_scan(files[name]), PIXELS)[None])[0])


def test_only_broken_files_give_no_features(tmp_path):
    found = run(write(tmp_path / "scans", {"glioma/a.png": b"x"}), never)
    assert found.features.shape == (0, 256)
    assert len(found) == 0
    assert len(found.problems) == 1


def test_the_same_content_twice_counts_once(tmp_path):
    found = run(write(tmp_path / "scans", {"glioma/a.png": png(1), "glioma/b.png": png(1), "glioma/c.png": png(2)}))
    assert found.names == ("glioma/a.png", "glioma/c.png")
    assert found.duplicates == 1
    assert found.problems == ()


def test_the_same_content_in_two_classes_counts_not_at_all_and_is_reported(tmp_path):
    found = run(write(tmp_path / "scans", {"glioma/a.png": png(1), "notumor/b.png": png(1), "glioma/c.png": png(2)}))
    assert found.names == ("glioma/c.png",)
    assert [(problem.name, problem.code) for problem in found.problems] == [
        ("glioma/a.png", "conflicting_label"),
        ("notumor/b.png", "conflicting_label"),
    ]
    assert "glioma/a.png, notumor/b.png" in found.problems[0].detail


def test_progress_counts_every_scan(tmp_path):
    seen = []
    run(
        write(tmp_path / "scans", {f"glioma/{n}.png": png(n) for n in range(4)} | {"glioma/x.png": b"x"}),
        on_progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(n, 5) for n in range(1, 6)]


def test_a_grey_jpeg_and_its_rgb_twin_have_the_same_features(tmp_path):
    image = phantoms.draw(0, np.random.default_rng(1))
    files = {}
    for mode in ("L", "RGB"):
        buffer = io.BytesIO()
        Image.Image.save(image.convert(mode), buffer, "PNG")
        files[f"glioma/{mode}.png"] = buffer.getvalue()
    found = run(write(tmp_path / "scans", files))
    assert np.array_equal(found.features[0], found.features[1])


def mirrored_png(data):
    buffer = io.BytesIO()
    Image.open(io.BytesIO(data)).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(buffer, "PNG")
    return buffer.getvalue()


def test_mirrored_features_are_those_of_the_scan_turned_left_to_right(tmp_path):
    files = {f"glioma/{n}.png": png(n) for n in range(5)}
    turned = {name: mirrored_png(data) for name, data in files.items()}
    found = run(write(tmp_path / "scans", files), mirror=True)
    assert np.array_equal(found.features, run(write(tmp_path / "turned", turned)).features)
    assert not np.array_equal(found.features, run(tmp_path / "scans").features)
    # They are the same scans all the same.
    assert found.digests == run(tmp_path / "scans").digests


def test_only_wanted_scans_are_computed(tmp_path):
    root = write(tmp_path / "scans", {f"glioma/{n}.png": png(n) for n in range(5)})
    every = run(root)
    backbone = CountingBackbone()
    found = run(root, lambda: backbone, wanted={every.digests[1], every.digests[4]}.__contains__)
    assert found.names == (every.names[1], every.names[4])
    assert np.array_equal(found.features, every.features[[1, 4]])
    assert backbone.batches == [2]


def test_plain_and_mirrored_features_are_kept_apart(tmp_path, cache):
    root = write(tmp_path / "scans", {"glioma/a.png": png(1)})
    turned = FeatureCache(tmp_path / "cache", PixelsBackbone.digest, PIXELS.name, mirror=True)
    plain, mirrored = run(root, cache=cache), run(root, cache=turned, mirror=True)
    assert np.array_equal(run(root, never, cache).features, plain.features)
    assert np.array_equal(run(root, never, turned, mirror=True).features, mirrored.features)
    with pytest.raises(ValueError, match="another view"):
        run(root, cache=cache, mirror=True)
