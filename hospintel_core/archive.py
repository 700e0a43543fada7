"""Zip files from elsewhere: their list is checked before anything is read, and nothing is ever unpacked to disk.

Names in a zip are only compared and shown, so what they lead to can harm nobody; they are refused all the same,
because who makes them does not mean well.
"""

import stat
import zipfile
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

from hospintel_core.errors import DatasetError

MAX_RATIO: Final = 100
_RATIO_FREE_BYTES: Final = 1024 * 1024
_ENCRYPTED: Final = 0x1
_END, _END_SIZE, _MAX_COMMENT = b"PK\x05\x06", 22, 0xFFFF
_END_64: Final = b"PK\x06\x07"
_LISTED_BYTES: Final = 1024
ZIP: Final = (b"PK\x03\x04", b"PK\x05\x06")
_CLUTTER: Final = frozenset(
    {"__macosx", "thumbs.db", "desktop.ini", "dicomdir", "lost+found", "system volume information", "$recycle.bin"}
)
_METHODS: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})


@dataclass(frozen=True)
class Limits:
    """``entries`` of a zip file, ``entry_bytes`` of one unpacked, ``total_bytes`` of all (None: no bound)."""

    entries: int
    entry_bytes: int
    total_bytes: int | None = None


class Archive:
    """A zip file's files and folders by their checked names.

    ``numbers``: a file's place in the zip file's list, from 1. ``clutter`` counts what systems add by themselves.
    """

    def __init__(self, archive: zipfile.ZipFile, limits: Limits) -> None:
        """Check the list. Raises DatasetError: as ``open_archive``."""
        self._archive, self._limits = archive, limits
        self.files: dict[PurePosixPath, zipfile.ZipInfo] = {}
        self.numbers: dict[PurePosixPath, int] = {}
        self.folders: set[PurePosixPath] = set()
        self.clutter = 0
        entries = archive.infolist()
        if len(entries) > limits.entries:
            raise too_many(limits.entries)
        if limits.total_bytes is not None and sum(entry.file_size for entry in entries) > limits.total_bytes:
            raise DatasetError(
                "archive_too_large", f"The zip file unpacks to more than {limits.total_bytes >> 20} MiB."
            )
        for number, entry in enumerate(entries, start=1):
            self._take(number, entry)

    def close(self) -> None:
        """Close the zip file; what is not read by then cannot be."""
        self._archive.close()

    def read(self, entry: zipfile.ZipInfo) -> bytes:
        """Unpack one entry into memory.

        Raises DatasetError: entry_too_large, entry_encrypted, entry_compression, entry_nested, scan_unreadable.
        """
        if entry.file_size > self._limits.entry_bytes:
            raise scan_too_large(self._limits.entry_bytes)
        if entry.flag_bits & _ENCRYPTED:
            raise DatasetError("entry_encrypted", "The file is encrypted.", "Make a zip file without a password.")
        if entry.compress_type not in _METHODS:
            # Others may ask for gigabytes before the first byte is out.
            raise DatasetError("entry_compression", "The file is compressed in a way that is not read here.")
        try:
            with self._archive.open(entry) as file:
                data = file.read(self._limits.entry_bytes + 1)
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, ValueError) as error:
            raise _damaged() from error
        if len(data) != entry.file_size:
            raise _damaged()
        if data.startswith(ZIP):
            raise DatasetError("entry_nested", "The file is a zip file itself.", "Put its scans into the outer one.")
        return data

    def _take(self, number: int, entry: zipfile.ZipInfo) -> None:
        name = _checked_name(number, entry)
        if is_clutter(name.parts):
            self.clutter += 1
            return
        self.folders.update(parent for parent in name.parents if parent.parts)
        if entry.is_dir():
            self.folders.add(name)
            return
        if entry.file_size > max(_RATIO_FREE_BYTES, MAX_RATIO * entry.compress_size):
            raise DatasetError(
                "entry_too_large", f"Entry {number} of the zip file unpacks to more than {MAX_RATIO} times its size."
            )
        if name in self.files:
            raise DatasetError("duplicate_entry", f"Entry {number} of the zip file has the name of one before it.")
        self.files[name] = entry
        self.numbers[name] = number


def open_archive(source: Path | BinaryIO, limits: Limits) -> Archive:
    """Open a zip file and check its list: how many entries, how large, named how.

    Raises DatasetError: dataset_unreadable, too_many_entries, archive_too_large, unsafe_entry, entry_too_large,
    duplicate_entry. OSError: a path cannot be opened.
    """
    if not isinstance(source, Path):
        _check_end(source, limits)
    try:
        archive = zipfile.ZipFile(source)
    except PermissionError:
        raise
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise DatasetError("dataset_unreadable", "It is not a readable zip file.") from error
    try:
        return Archive(archive, limits)
    except BaseException:
        archive.close()
        raise


def is_clutter(parts: Collection[str]) -> bool:
    """Tell what operating systems put beside people's files: hidden files, ``__MACOSX`` and the like."""
    return any(part.startswith(".") or part.casefold() in _CLUTTER for part in parts)


def too_many(entries: int) -> DatasetError:
    """The refusal of more than ``entries`` files."""
    return DatasetError("too_many_entries", f"There are more than {entries:,} files.")


def scan_too_large(most: int) -> DatasetError:
    """The refusal of a file of more than ``most`` bytes."""
    return DatasetError("entry_too_large", f"The file has more than {most >> 20} MiB.")


def _damaged() -> DatasetError:
    return DatasetError("scan_unreadable", "The zip file is damaged here.")


def _check_end(file: BinaryIO, limits: Limits) -> None:
    """Look at what the list says about itself: zipfile makes an object of each entry before anybody may count them."""
    size = file.seek(0, 2)
    file.seek(max(0, size - _END_SIZE - _MAX_COMMENT))
    tail = file.read()
    at = tail.rfind(_END)
    if at < 0:
        raise DatasetError("dataset_unreadable", "It is not a readable zip file.")
    end = tail[at : at + _END_SIZE]
    # The long form is for files over 4 GiB or with 65,536 entries, and gives a second, different answer.
    if tail[:at].rfind(_END_64) >= 0 or int.from_bytes(end[10:12], "little") > limits.entries:
        raise too_many(limits.entries)
    if int.from_bytes(end[12:16], "little") > limits.entries * _LISTED_BYTES:
        raise too_many(limits.entries)


def _checked_name(number: int, entry: zipfile.ZipInfo) -> PurePosixPath:
    name = entry.filename
    path = PurePosixPath(name)
    is_link = stat.S_ISLNK(entry.external_attr >> 16)
    # orig_filename: zipfile cuts a name at its first NUL byte.
    is_odd = any(character in entry.orig_filename for character in "\\:\0")
    is_nothing = not name or (not path.parts and not entry.is_dir())
    if is_link or is_odd or is_nothing or path.is_absolute() or ".." in path.parts:
        raise DatasetError("unsafe_entry", f"Entry {number} of the zip file is a link, or has an unsafe name or none.")
    return path
