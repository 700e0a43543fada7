"""The frozen base's output, computed once a scan and kept by the scan's content digest."""

import hashlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hospintel_core.architectures import Architecture
from hospintel_core.backbone import Backbone
from hospintel_core.dataset import Dataset, Scan
from hospintel_core.errors import CoreError
from hospintel_core.imaging import content_digest, read_scan, to_input

Floats = npt.NDArray[np.float32]
BATCH = 32
_CHECKSUM_BYTES = 32
RESIZE = "lanczos"  # features of other pixels are other features


class FeatureCache:
    """One file per scan: SHA-256 of the values, then the values as little-endian float32.

    Files are renamed into place but not synced: the checksum tells a torn one, which is then computed again.
    """

    def __init__(self, folder: Path, backbone_digest: str, architecture: str, *, mirror: bool = False) -> None:
        view = "-mirrored" if mirror else ""
        self.folder = folder / f"{architecture}-{RESIZE}{view}-{backbone_digest[:16]}"
        self.mirror = mirror

    def read(self, digest: str, out: Floats) -> bool:
        """Fill ``out`` (d,) with the scan's features; False, and ``out`` undefined, if they are missing or damaged."""
        try:
            with self._path(digest).open("rb") as file:
                checksum = file.read(_CHECKSUM_BYTES)
                filled = file.readinto(out.data.cast("B"))
                return filled == out.nbytes and not file.read(1) and checksum == hashlib.sha256(out.data).digest()
        except OSError:
            return False

    def write(self, digest: str, features: Floats) -> None:
        """Keep ``features`` (d,), C-contiguous, atomically."""
        path = self._path(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(hashlib.sha256(features.data).digest())
                file.write(features.data)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def _path(self, digest: str) -> Path:
        return self.folder / digest[:2] / f"{digest}.f32"


@dataclass(frozen=True)
class Problem:
    """A file that was left out, and why."""

    name: str
    code: str
    detail: str


@dataclass(frozen=True)
class Extracted:
    """Features (n, d) float32 with labels (n,), content digests and names, in the dataset's order."""

    features: Floats
    labels: npt.NDArray[np.int64]
    digests: tuple[str, ...]
    names: tuple[str, ...]
    problems: tuple[Problem, ...]
    duplicates: int

    def __len__(self) -> int:
        return len(self.labels)


def extract(
    dataset: Dataset,
    architecture: Architecture,
    backbone: Callable[[], Backbone],
    cache: FeatureCache | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    *,
    mirror: bool = False,
    wanted: Callable[[str], bool] | None = None,
) -> Extracted:
    """Compute the features of every readable scan, or take them from ``cache``.

    ``backbone`` is called once, and only if something is missing: loading TensorFlow takes seconds. A broken file is
    reported in ``problems`` and left out; the same content twice counts once; the same content under two classes is
    a problem (conflicting_label) and counts not at all. ``on_progress(done, total)`` counts the scans that are left.
    ``mirror`` turns each scan left to right first, and needs a cache that was made for it; ``wanted`` chooses scans by
    their content digest.
    """
    if cache is not None and cache.mirror != mirror:
        raise ValueError("The cache holds features of another view.")
    found = distinct(dataset)
    scans = found.scans if wanted is None else {digest: scan for digest, scan in found.scans.items() if wanted(digest)}
    extraction = _Extraction(architecture, backbone, cache, on_progress, found.problems, mirror=mirror)
    return extraction.run(scans, found.duplicates)


@dataclass(frozen=True)
class Distinct:
    """The first scan of each content by its digest, the files left out so far, and files of the same content."""

    scans: dict[str, Scan]
    problems: list[Problem]
    copies: list[tuple[str, ...]]

    @property
    def duplicates(self) -> int:
        """Files that are left out as copies of others."""
        return sum(len(names) - 1 for names in self.copies)


def distinct(dataset: Dataset) -> Distinct:
    """Tell the files of ``dataset`` apart by content: what training counts once, and what it does not count."""
    problems: list[Problem] = []
    copies: dict[str, list[Scan]] = {}
    for scan in dataset.scans:
        try:
            copies.setdefault(content_digest(scan.read()), []).append(scan)
        except CoreError as error:
            problems.append(Problem(scan.name, error.code, error.detail))
    scans: dict[str, Scan] = {}
    same: list[tuple[str, ...]] = []
    for digest, group in copies.items():
        if len({scan.label for scan in group}) > 1:
            code, detail = _conflict(group)
            problems += [Problem(scan.name, code, detail) for scan in group]
        else:
            scans[digest] = group[0]
            if len(group) > 1:
                same.append(tuple(scan.name for scan in group))
    return Distinct(scans, problems, same)


def _conflict(group: list[Scan]) -> tuple[str, str]:
    """Why files of the same content under several classes are left out: an empty file or a note is no scan of any."""
    try:
        read_scan(group[0].read())
    except CoreError as error:
        return error.code, error.detail
    others = ", ".join(scan.name for scan in group[:3])
    return "conflicting_label", f"The same image lies in more than one class folder: {others}."


class _Extraction:
    """One run of ``extract``: rows are filled in order, so that a broken scan leaves no gap and nothing is copied."""

    def __init__(
        self,
        architecture: Architecture,
        backbone: Callable[[], Backbone],
        cache: FeatureCache | None,
        on_progress: Callable[[int, int], None] | None,
        problems: list[Problem],
        *,
        mirror: bool,
    ) -> None:
        self.mirror = mirror
        self.architecture, self.cache, self.on_progress, self.problems = architecture, cache, on_progress, problems
        self.load_backbone = backbone
        self.backbone: Backbone | None = None
        self.pending: list[tuple[int, str]] = []
        size, channels = architecture.input_size, architecture.channels
        self.images = np.empty((BATCH, size, size, channels), np.uint8)

    def run(self, scans: dict[str, Scan], duplicates: int) -> Extracted:
        self.features = np.empty((len(scans), self.architecture.feature_dim), np.float32)
        kept: list[tuple[str, Scan]] = []
        for done, (digest, scan) in enumerate(scans.items(), start=1):
            if self._take(len(kept), digest, scan):
                kept.append((digest, scan))
            if self.on_progress is not None:
                self.on_progress(done, len(scans))
        self._flush()
        return Extracted(
            features=self.features[: len(kept)],
            labels=np.array([scan.label for _, scan in kept], dtype=np.int64),
            digests=tuple(digest for digest, _ in kept),
            names=tuple(scan.name for _, scan in kept),
            problems=tuple(sorted(self.problems, key=lambda problem: problem.name)),
            duplicates=duplicates,
        )

    def _take(self, row: int, digest: str, scan: Scan) -> bool:
        """Fill ``row`` from the cache or queue it for the base; False if the scan is broken."""
        if self.cache is not None and self.cache.read(digest, self.features[row]):
            return True
        try:
            image = to_input(read_scan(scan.read()), self.architecture)
        except CoreError as error:
            self.problems.append(Problem(scan.name, error.code, error.detail))
            return False
        # Rows, columns, channels: the columns run from left to right.
        self.images[len(self.pending)] = image[:, ::-1] if self.mirror else image
        self.pending.append((row, digest))
        if len(self.pending) == BATCH:
            self._flush()
        return True

    def _flush(self) -> None:
        if not self.pending:
            return
        if self.backbone is None:
            self.backbone = self.load_backbone()
        rows = self.backbone.features(self.images[: len(self.pending)])
        for (row, digest), values in zip(self.pending, rows, strict=True):
            self.features[row] = values
            if self.cache is not None:
                self.cache.write(digest, self.features[row])
        self.pending.clear()
