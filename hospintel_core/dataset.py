"""A hospital's scans: a folder, or a zip file, that holds one folder per class.

Nothing is unpacked: scans are read one at a time, and the names in a zip are only ever compared and shown.
"""

import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Self, TypeVar

from hospintel_core.errors import DatasetError
from hospintel_core.files import open_regular
from hospintel_core.imaging import MAX_FILE_BYTES

MAX_ENTRIES = 100_000
MAX_RATIO = 100
_RATIO_FREE_BYTES = 1024 * 1024
_VALIDATION_SHARE = 0.2
Place = TypeVar("Place")
_CLUTTER = frozenset(
    {"__macosx", "thumbs.db", "desktop.ini", "lost+found", "system volume information", "$recycle.bin"}
)


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
    unsafe_entry, too_many_entries, entry_too_large. Reading a scan: scan_unreadable, entry_too_large.
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
        subfolders[:] = [name for name in subfolders if not _is_clutter(name)]
        folders.update(below / name for name in subfolders)
        files.update({below / name: Path(folder, name) for name in names if not _is_clutter(name)})
        if len(files) > MAX_ENTRIES:
            raise _too_many()
    return Dataset(_find_scans(files, folders, classes, lambda path: lambda: _read_file(path)), lambda: None)


def _open_zip(path: Path, classes: Sequence[str]) -> Dataset:
    try:
        archive = zipfile.ZipFile(path)
    except PermissionError:
        raise
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise DatasetError(
            "dataset_unreadable", f"{path.name!r} is neither a folder nor a readable zip file."
        ) from error
    try:
        entries = archive.infolist()
        if len(entries) > MAX_ENTRIES:
            raise _too_many()
        files: dict[PurePosixPath, zipfile.ZipInfo] = {}
        folders: set[PurePosixPath] = set()
        for entry in entries:
            name = _checked_name(entry)
            if any(_is_clutter(part) for part in name.parts):
                continue
            folders.update(parent for parent in name.parents if parent.parts)
            if entry.is_dir():
                folders.add(name)
            else:
                _check_ratio(entry)
                files[name] = entry
        scans = _find_scans(files, folders, classes, lambda entry: lambda: _read_entry(archive, entry))
    except BaseException:
        archive.close()
        raise
    return Dataset(scans, archive.close)


def _find_scans(
    files: dict[PurePosixPath, Place],
    folders: Iterable[PurePosixPath],
    classes: Sequence[str],
    reader: Callable[[Place], Callable[[], bytes]],
) -> tuple[Scan, ...]:
    labels = {name.casefold(): label for label, name in enumerate(classes)}
    top = {folder for folder in folders if len(folder.parts) == 1}
    depth = 0
    if len(top) == 1 and not any(folder.name.casefold() in labels for folder in top):
        depth = 1
    found = {folder.parts[depth] for folder in folders if len(folder.parts) == depth + 1}
    known = ", ".join(classes)
    if not found:
        raise DatasetError("no_classes", "There is no class folder.", f"Expected one folder for each of: {known}.")
    unknown = sorted(name for name in found if name.casefold() not in labels)
    if unknown:
        shown = ", ".join(repr(name) for name in unknown[:5])
        raise DatasetError("unknown_class", f"Unknown class folder: {shown}.", f"The classes are: {known}.")
    scans = tuple(
        Scan("/".join(name.parts[depth:]), labels[name.parts[depth].casefold()], reader(place))
        for name, place in sorted(files.items())
        if len(name.parts) > depth + 1
    )
    if not scans:
        raise DatasetError("no_scans", "The class folders hold no scan.")
    return scans


def _is_clutter(name: str) -> bool:
    return name.startswith(".") or name.casefold() in _CLUTTER


def _checked_name(entry: zipfile.ZipInfo) -> PurePosixPath:
    name = entry.filename
    path = PurePosixPath(name)
    is_link = stat.S_ISLNK(entry.external_attr >> 16)
    # orig_filename: zipfile cuts a name at its first NUL byte.
    is_odd = any(character in entry.orig_filename for character in "\\:\0")
    if is_link or is_odd or path.is_absolute() or ".." in path.parts:
        raise DatasetError("unsafe_entry", f"The zip file holds a link or an unsafe name: {name[:80]!r}.")
    return path


def _check_ratio(entry: zipfile.ZipInfo) -> None:
    if entry.file_size > max(_RATIO_FREE_BYTES, MAX_RATIO * entry.compress_size):
        raise DatasetError(
            "entry_too_large", f"{entry.filename[:80]!r} unpacks to more than {MAX_RATIO} times its size."
        )


def _read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    if entry.file_size > MAX_FILE_BYTES:
        raise _scan_too_large()
    try:
        with archive.open(entry) as file:
            return file.read(MAX_FILE_BYTES + 1)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, NotImplementedError, ValueError) as error:
        raise DatasetError("scan_unreadable", "The zip file is damaged or encrypted here.") from error


def _read_file(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise DatasetError("scan_unreadable", f"The file cannot be read: {error.strerror}.") from error
    if len(data) > MAX_FILE_BYTES:
        raise _scan_too_large()
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


def _scan_too_large() -> DatasetError:
    return DatasetError("entry_too_large", f"The file has more than {MAX_FILE_BYTES >> 20} MiB.")


def _too_many() -> DatasetError:
    return DatasetError("too_many_entries", f"There are more than {MAX_ENTRIES:,} files.")
