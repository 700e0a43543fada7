"""The hospital's scans as features: split for good by content, cached on disk, kept in memory between rounds."""

import hashlib
import logging
import os
import shutil
from collections import Counter
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from client_agent.clock import Stop
from client_agent.console import Display
from client_agent.errors import DataError
from hospintel_core import backbone
from hospintel_core.architectures import CLASSES, Architecture
from hospintel_core.dataset import is_validation, open_dataset
from hospintel_core.features import Extracted, FeatureCache, extract

log = logging.getLogger(__name__)

MIN_SCANS: Final = 20
TRIES: Final = 3
SHOWN_PROBLEMS: Final = 5
# What the cache leaves free for the journal, models and deltas, without which no round ends.
DISK_RESERVE: Final = 64 * 1024 * 1024
# Known without loading the base: with a full cache it is never needed.
_BASE_DIGESTS: Final = {"vgg16": backbone.VGG16_DIGEST, "pixels": backbone.PIXELS_DIGEST}


@dataclass(frozen=True)
class Split:
    """Training and validation part: features (n, d) float32, labels (n,) int64.

    ``train_digests`` are the content digests (hex) of the training part, ``train_mirrored`` the features of its scans
    mirrored left to right, row for row, once somebody asked for them.
    """

    train_features: npt.NDArray[np.float32]
    train_labels: npt.NDArray[np.int64]
    validation_features: npt.NDArray[np.float32]
    validation_labels: npt.NDArray[np.int64]
    train_digests: tuple[str, ...]
    train_mirrored: npt.NDArray[np.float32] | None = None

    @property
    def train_digest(self) -> bytes:
        """The name of the training part: SHA-256 over the content digests of its scans, in order."""
        return hashlib.sha256("".join(self.train_digests).encode()).digest()


class _LenientCache(FeatureCache):
    """A cache that gives way to everything else on the disk: the features in memory are as good."""

    writable = True

    def write(self, digest: str, features: npt.NDArray[np.float32]) -> None:
        if not self.writable:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(self.folder).free < DISK_RESERVE:
                self._stop(f"less than {DISK_RESERVE >> 20} MiB are free")
                return
            super().write(digest, features)
        except OSError as error:
            self._stop(str(error))

    def _stop(self, why: str) -> None:
        self.writable = False
        log.warning("features are not cached any more, so the next start computes them again: %s", why)


class LocalScans:
    """The folder or zip file with the hospital's scans."""

    def __init__(self, data: Path, *, cache: Path, weights: Path | None, display: Display, stop: Stop) -> None:
        self._data = data
        self._cache = cache
        self._weights = weights
        self._display = display
        self._stop = stop
        self._kept: tuple[object, Split] | None = None

    def check(self) -> None:
        """Look at names only, so that a wrong folder is found out at the start and not in the first round.

        Raises:
            DatasetError: as `open_dataset`.
            DataError: too_few_scans.
        """
        with open_dataset(self._data, CLASSES) as dataset:
            counts = Counter(CLASSES[scan.label] for scan in dataset.scans)
        found = ", ".join(f"{counts[name]} {name}" for name in CLASSES)
        require_enough(sum(counts.values()), found)
        log.info("scans: %s", found)

    def split(self, architecture: Architecture, *, mirror: bool = False) -> Split:
        """Features of every usable scan, in two parts: the fixed 20 % for validation, and the rest; it also mirrored.

        Raises:
            DatasetError: the data cannot be read.
            DataError: too_few_scans; data_changed while they were read, again and again.
            BaseWeightsError: the base that computes missing features is not there.
        """
        for _ in range(TRIES):
            key = (architecture.name, _fingerprint(self._data))
            if self._kept is None or self._kept[0] != key:
                # The old features are freed first: both at once may not fit into memory.
                self._kept = None
                self._kept = (key, self._split(architecture))
            split = self._kept[1]
            if not mirror or split.train_mirrored is not None:
                return split
            found = self._extract(architecture, "mirrored scans", only=set(split.train_digests))
            if found.digests == split.train_digests:
                split = replace(split, train_mirrored=found.features)
                self._kept = (key, split)
                return split
            self._kept = None
        raise DataError(
            "data_changed",
            "the scans changed while they were read",
            "let the copying finish, then start the agent again",
        )

    def _split(self, architecture: Architecture) -> Split:
        found = self._extract(architecture, "features")
        _tell(found)
        require_enough(len(found), f"{len(found.problems)} broken files were skipped")
        chosen = np.fromiter((is_validation(digest) for digest in found.digests), dtype=np.bool_, count=len(found))
        return Split(
            train_features=found.features[~chosen],
            train_labels=found.labels[~chosen],
            validation_features=found.features[chosen],
            validation_labels=found.labels[chosen],
            train_digests=tuple(compress(found.digests, ~chosen)),
        )

    def _extract(self, architecture: Architecture, stage: str, *, only: set[str] | None = None) -> Extracted:
        """The features of all scans as they are, or of `only` these (content digests), mirrored."""
        mirror = only is not None
        cache = _LenientCache(self._cache, _BASE_DIGESTS[architecture.base], architecture.name, mirror=mirror)
        with (
            open_dataset(self._data, architecture.class_names) as dataset,
            self._display.stage(stage, "scans") as show,
        ):

            def on_progress(done: int, total: int) -> None:
                self._stop.check()
                show(done, total)

            return extract(
                dataset,
                architecture,
                lambda: backbone.load_backbone(architecture, self._weights),
                cache,
                on_progress,
                mirror=mirror,
                wanted=None if only is None else only.__contains__,
            )


def require_enough(usable: int, explanation: str) -> None:
    """Return where so many scans are enough to train; `explanation` says why there are not more.

    Raises:
        DataError: too_few_scans.
    """
    if usable < MIN_SCANS:
        raise DataError(
            "too_few_scans",
            f"{usable} usable scans ({explanation}); training needs at least {MIN_SCANS}",
            "put PNG, JPEG or DICOM scans into the class folders, then start the agent again",
        )


def _tell(found: Extracted) -> None:
    log.info("features: %d scans usable, %d skipped, %d duplicates", len(found), len(found.problems), found.duplicates)
    for problem in found.problems[:SHOWN_PROBLEMS]:
        log.warning("skipped %s: %s (%s)", problem.name, problem.detail, problem.code)
    more = len(found.problems) - SHOWN_PROBLEMS
    if more > 0:
        counts = Counter(problem.code for problem in found.problems)
        kinds = ", ".join(f"{count} {code}" for code, count in sorted(counts.items()))
        log.warning("skipped %d more, in all: %s", more, kinds)


def _fingerprint(data: Path) -> object:
    """Changes whenever a file below `data` is added, removed or written: names, sizes, times; nothing is read."""
    if data.is_file():
        status = data.stat()
        return (status.st_size, status.st_mtime_ns)
    return tuple(sorted(_entries(data)))


def _entries(folder: Path) -> list[tuple[str, int, int]]:
    found: list[tuple[str, int, int]] = []
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            try:
                status = path.stat()
            except OSError:
                continue
            found.append((str(path), status.st_size, status.st_mtime_ns))
    return found
