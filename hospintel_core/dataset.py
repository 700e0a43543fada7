"""A hospital's scans: a folder, or a zip file, that holds one folder per class.

Nothing is unpacked: scans are read one at a time, and the names in a zip are only ever compared and shown.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Self, TypeVar

from hospintel_core.archive import Limits, is_clutter, open_archive, scan_too_large, too_many
from hospintel_core.errors import DatasetError
from hospintel_core.files import open_regular
from hospintel_core.imaging import MAX_FILE_BYTES

MAX_ENTRIES = 100_000
_VALIDATION_SHARE = 0.2
Place = TypeVar("Place")


@dataclass(frozen=True)
class Scan:
    """One file of the dataset; ``name`` is its path from the class folder on, ``label`` its class's index."""

    name: str
    label: int
    read: Callable[[], bytes]


class Dataset:
    """The scans of a folder or zip file, sorted by name. Use it as a context manager: a zip file stays open."""

    def __init__(self, scans: tuple[Scan, ...], close: Callable[[], None]) -> None:
        self.scans = scans
        self.close = close

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def is_validation(digest: str) -> bool:
    """Tell whether the scan with this content digest (hex) is of the fixed 20 % that are kept for validation."""
    return int(digest[:8], 16) < _VALIDATION_SHARE * 2**32


def open_dataset(path: Path, classes: Sequence[str]) -> Dataset:
    """Find the scans in ``path``: ``<class>/...``, or the same inside one enclosing folder.

    Hidden files are skipped. A file that is no image is found out, and reported, when it is read.
    Raises DatasetError: dataset_missing, dataset_unreadable, no_classes, unknown_class, no_scans,
    unsafe_entry, duplicate_entry, too_many_entries, entry_too_large. Reading a scan: scan_unreadable,
    entry_too_large, entry_encrypted, entry_compression, entry_nested.
    """
    try:
        if path.is_dir():
            return _open_folder(path, classes)
        if path.is_file():
            return _open_zip(path, classes)
    except PermissionError as error:
        raise _not_allowed(path) from error
    raise DatasetError("dataset_missing", f"There is no folder or zip file {path.name!r}.")


def _open_folder(root: Path, classes: Sequence[str]) -> Dataset:
    files: dict[PurePosixPath, Path] = {}
    folders: set[PurePosixPath] = set()
    for folder, subfolders, names in os.walk(root, onerror=_raise_not_allowed):
        below = PurePosixPath(Path(folder).relative_to(root).as_posix())
        subfolders[:] = [name for name in subfolders if not is_clutter([name])]
        folders.update(below / name for name in subfolders)
        files.update({below / name: Path(folder, name) for name in names if not is_clutter([name])})
        if len(files) > MAX_ENTRIES:
            raise too_many(MAX_ENTRIES)
    return Dataset(_find_scans(files, folders, classes, lambda path: lambda: _read_file(path)), lambda: None)


def _open_zip(path: Path, classes: Sequence[str]) -> Dataset:
    try:
        archive = open_archive(path, Limits(MAX_ENTRIES, MAX_FILE_BYTES))
    except DatasetError as error:
        if error.code != "dataset_unreadable":
            raise
        raise DatasetError(error.code, f"{path.name!r} is neither a folder nor a readable zip file.") from error
    try:
        scans = _find_scans(archive.files, archive.folders, classes, lambda entry: lambda: archive.read(entry))
    except BaseException:
        archive.close()
        raise
    return Dataset(scans, archive.close)


class Labelled(NamedTuple):
    """A file, its path from the class folder on, and its class's index."""

    path: PurePosixPath
    name: str
    label: int


def label_files(
    files: Iterable[PurePosixPath], folders: Iterable[PurePosixPath], classes: Sequence[str]
) -> list[Labelled]:
    """Sort files into classes by their folder, at the top or inside one enclosing folder; others are left out.

    A folder's name counts as its letters and digits, in any case, with or without "tumor" at the end: no_tumor is
    notumor. Raises DatasetError: no_classes, unknown_class, no_scans.
    """
    labels = {_class_key(name): label for label, name in enumerate(classes)}
    top = {folder for folder in folders if len(folder.parts) == 1}
    depth = 0
    if len(top) == 1 and not any(_class_key(folder.name) in labels for folder in top):
        depth = 1
    found = {folder.parts[depth] for folder in folders if len(folder.parts) == depth + 1}
    known = ", ".join(classes)
    if not found:
        raise DatasetError("no_classes", "There is no class folder.", f"Expected one folder for each of: {known}.")
    unknown = sorted(name for name in found if _class_key(name) not in labels)
    if unknown:
        shown = ", ".join(repr(name) for name in unknown[:5])
        raise DatasetError("unknown_class", f"Unknown class folder: {shown}.", f"The classes are: {known}.")
    labelled = [
        Labelled(path, "/".join(path.parts[depth:]), labels[_class_key(path.parts[depth])])
        for path in sorted(files)
        if len(path.parts) > depth + 1
    ]
    if not labelled:
        raise DatasetError("no_scans", "The class folders hold no scan.")
    return labelled


def _find_scans(
    files: dict[PurePosixPath, Place],
    folders: Iterable[PurePosixPath],
    classes: Sequence[str],
    reader: Callable[[Place], Callable[[], bytes]],
) -> tuple[Scan, ...]:
    labelled = label_files(files, folders, classes)
    return tuple(Scan(name, label, reader(files[path])) for path, name, label in labelled)


def class_of(folder: str, classes: Sequence[str]) -> int | None:
    """The index of the class that a folder of this name is for, as ``label_files`` reads it; None: of none."""
    return {_class_key(name): label for label, name in enumerate(classes)}.get(_class_key(folder))


def _class_key(name: str) -> str:
    plain = "".join(filter(str.isalnum, name.casefold())).replace("tumour", "tumor")
    return plain.removesuffix("tumor")


def _read_file(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise DatasetError("scan_unreadable", f"The file cannot be read: {error.strerror}.") from error
    if len(data) > MAX_FILE_BYTES:
        raise scan_too_large(MAX_FILE_BYTES)
    return data


def _raise_not_allowed(error: OSError) -> None:
    """Let no folder be left out in silence."""
    if isinstance(error, PermissionError):
        raise _not_allowed(Path(error.filename)) from error


def _not_allowed(path: Path) -> DatasetError:
    return DatasetError(
        "dataset_unreadable",
        f"{path.name!r} cannot be read by this user.",
        "The user who runs this must be allowed to read the scans and to open their folders.",
    )
