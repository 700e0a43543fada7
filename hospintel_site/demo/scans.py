"""Split scans between the demo's hospitals, or draw synthetic ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from hospintel_core import phantoms
from hospintel_core.architectures import CLASSES
from hospintel_core.dataset import Dataset, Scan, open_dataset
from hospintel_core.errors import DatasetError
from hospintel_site.demo.errors import DemoError
from hospintel_site.demo.options import Options

MIN_SCANS = 40
MAX_DRAWS = 1000
PHANTOMS_PER_CLASS = 25
PHANTOM_TEST_PER_CLASS = 40


@dataclass(frozen=True)
class Prepared:
    """Where each hospital's scans and the test scans lie, and what they are."""

    hospitals: tuple[Path, ...]
    test: Path | None
    description: str


def split(labels: npt.NDArray[np.int64], hospitals: int, alpha: float, seed: int) -> list[npt.NDArray[np.int64]]:
    """Split scans between hospitals by a Dirichlet distribution over labels (Hsu et al. 2019, arXiv 1909.06335).

    Args:
        labels: class index of each scan, shape (n,).
        hospitals: number of parts.
        alpha: concentration; infinity gives every hospital the same share of each class.
        seed: of the draw.

    Returns:
        For each hospital the indices of its scans, in increasing order; every scan is in one part, and every part has
        at least 40 scans.

    Raises:
        DemoError: there are too few scans, or a thousand draws gave no such split.
    """
    rng = np.random.default_rng(seed)
    for _ in range(MAX_DRAWS if len(labels) >= MIN_SCANS * hospitals else 0):
        parts: list[list[npt.NDArray[np.int64]]] = [[] for _ in range(hospitals)]
        for label in np.unique(labels):
            members = rng.permutation(np.flatnonzero(labels == label))
            even = np.full(hospitals, 1 / hospitals)
            shares = even if np.isinf(alpha) else rng.dirichlet(np.full(hospitals, alpha))
            cuts = np.round(np.cumsum(shares)[:-1] * len(members)).astype(np.int64)
            for part, piece in zip(parts, np.split(members, cuts), strict=True):
                part.append(piece)
        whole = [np.sort(np.concatenate(part)) for part in parts]
        if min(len(part) for part in whole) >= MIN_SCANS:
            return whole
    raise DemoError(
        f"{len(labels)} scans could not be split so that each of {hospitals} hospitals has {MIN_SCANS}.",
        "Take more scans, fewer hospitals or a larger ALPHA.",
    )


def check(options: Options) -> None:
    """Look at DATA and TEST before anything is started: TEST is needed only at the very end.

    Raises:
        DemoError: one of them cannot be used; says which.
    """
    for name, path in (("DATA", options.data), ("TEST", options.test)):
        if path is None:
            continue
        try:
            with open_dataset(path, CLASSES):
                pass
        except DatasetError as error:
            hint = error.hint or f"A folder or zip file with a folder for each class: {', '.join(CLASSES)}."
            raise DemoError(f"{name}={path} cannot be used: {error.detail}", hint) from error


def prepare(options: Options) -> Prepared:
    """Lay out every hospital's scans in a folder of its own.

    Raises:
        DatasetError: a scan in DATA cannot be read.
        DemoError: DATA holds too few scans for so many hospitals.
    """
    folders = tuple(options.folder / name / "scans" for name in options.processes)
    if options.data is None:
        for number, folder in enumerate(folders):
            phantoms.write_folder(folder, PHANTOMS_PER_CLASS, seed=1000 * options.seed + number)
        test = options.test or options.folder / "test"
        if options.test is None:
            phantoms.write_folder(test, PHANTOM_TEST_PER_CLASS, seed=1000 * options.seed + 999)
        return Prepared(folders, test, "synthetic phantoms")
    with open_dataset(options.data, CLASSES) as dataset:
        _divide(dataset, folders, options)
        return Prepared(folders, options.test, f"{options.data.name}: {len(dataset.scans)} scans")


def _divide(dataset: Dataset, folders: Sequence[Path], options: Options) -> None:
    labels = np.array([scan.label for scan in dataset.scans], dtype=np.int64)
    for folder, indices in zip(folders, split(labels, len(folders), options.alpha, options.seed), strict=True):
        _copy([dataset.scans[index] for index in indices], folder)


def _copy(scans: Sequence[Scan], folder: Path) -> None:
    for number, scan in enumerate(scans):
        target = folder / CLASSES[scan.label] / f"{number:05d}-{PurePosixPath(scan.name).name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(scan.read())
