"""Zip files of scans that people hand in: one scan at a time, each made anew, and a code for each that is refused."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO, Final, Self
from zipfile import ZipInfo

from hospintel_core.archive import ZIP, Limits, open_archive
from hospintel_core.dataset import label_files
from hospintel_core.errors import CoreError, DatasetError
from hospintel_core.intake import Scan, read_scan

MAX_ENTRIES: Final = 2_000
MAX_ENTRY_BYTES: Final = 32 * 1024 * 1024
MAX_TOTAL_BYTES: Final = 1024 * 1024 * 1024


@dataclass(frozen=True)
class Taken:
    """A scan of the zip file's entry ``number`` (from 1, in the file's order); ``label`` is its class's index.

    ``label`` is None where the zip file has no class folder at all, so that a person has to say.
    """

    number: int
    label: int | None
    scan: Scan


@dataclass(frozen=True)
class Refused:
    """An entry that is no scan, and why. Its name is left out: people name files after patients."""

    number: int
    label: int | None
    code: str
    detail: str


class Bundle:
    """A checked zip file. ``ignored`` counts files of operating systems and files beside the class folders."""

    def __init__(self, source: BinaryIO, classes: Sequence[str]) -> None:
        """Raises DatasetError: as ``read_bundle``."""
        limits = Limits(MAX_ENTRIES, MAX_ENTRY_BYTES, MAX_TOTAL_BYTES)
        self._archive = open_archive(source, limits)
        try:
            self._entries = self._sorted(classes)
        except BaseException:
            self._archive.close()
            raise
        self.ignored = self._archive.clutter + len(self._archive.files) - len(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._archive.close()

    def __iter__(self) -> Iterator[Taken | Refused]:
        """Unpack and read entry by entry; no more than one is in memory."""
        for number, name, label, entry in self._entries:
            try:
                scan = read_scan(name, self._archive.read(entry))
            except CoreError as error:
                yield Refused(number, label, error.code, error.detail)
            else:
                yield Taken(number, label, scan)

    def _sorted(self, classes: Sequence[str]) -> list[tuple[int, str, int | None, ZipInfo]]:
        """The scans to be: number in the file, last part of the name, label, entry."""
        files, numbers = self._archive.files, self._archive.numbers
        if not files:
            raise DatasetError("no_scans", "The zip file holds no scan.")
        try:
            labelled = label_files(files, self._archive.folders, classes)
        except DatasetError as error:
            if error.code == "no_classes":
                return [(numbers[path], path.name, None, entry) for path, entry in files.items()]
            if error.code == "unknown_class":
                # A folder may bear the name of a patient.
                raise DatasetError(error.code, "The zip file has a folder that is no class.", error.hint) from None
            raise
        return [(numbers[path], path.name, label, files[path]) for path, _, label in labelled]


def is_bundle(data: bytes) -> bool:
    """Tell a zip file by its first bytes; what the file is called does not matter."""
    return data.startswith(ZIP)


def read_bundle(source: BinaryIO | bytes, classes: Sequence[str]) -> Bundle:
    """Check a zip file's list; iterate over what is returned to get its scans and refusals, and close it.

    Classes are folders as in ``dataset.open_dataset``.
    Raises DatasetError, before any entry is unpacked: dataset_unreadable, too_many_entries (2,000), archive_too_large
    (1 GiB unpacked), entry_too_large (over 100 times its packed size), unsafe_entry, duplicate_entry, unknown_class,
    no_scans. Entries are refused with codes of ``archive.Archive.read`` and ``intake.read_scan``.
    """
    return Bundle(io.BytesIO(source) if isinstance(source, bytes) else source, classes)
