"""Scans that people hand in: read, made anew, sealed one by one. No name of a file is kept or told to anybody."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Protocol
from uuid import UUID, uuid4

from apps.federation.pipeline import storage
from apps.federation.pipeline.step import Refusal
from apps.federation.pipeline.vault import Vault
from hospintel_core import bundle, intake
from hospintel_core.errors import CoreError

MOST_BYTES = 32 * 1024 * 1024
_MAGIC = 4
Files = Iterable[tuple[str, BinaryIO]]


@dataclass(frozen=True)
class Problem:
    """A file that was left out: its place in what was sent (`2`, or `2, entry 5` of a zip file), and why."""

    place: str
    code: str
    detail: str


@dataclass(frozen=True)
class Copy:
    """A file that shows the same as a scan that is here already."""

    place: str
    number: int


@dataclass
class Added:
    """What became of the files that were sent; `scans` are the rows that were made."""

    scans: list[Any] = field(default_factory=list)
    copies: list[Copy] = field(default_factory=list)
    refused: list[Problem] = field(default_factory=list)

    @property
    def codes(self) -> str:
        """Return why files were left out, for the audit."""
        return " ".join(sorted({problem.code for problem in self.refused}))[:200]


@dataclass(frozen=True)
class Sealed:
    """A scan that is in the vault and has no row yet."""

    place: str
    scan_id: UUID
    digest: str
    label: int | None
    kind: str
    width: int
    height: int

    def columns(self) -> dict[str, Any]:
        """Return the columns of its row, but for its number and whose it is."""
        same = ("digest", "label", "kind", "width", "height")
        return {"id": self.scan_id, **{name: getattr(self, name) for name in same}}


class Known(Protocol):
    """A scan that is here already."""

    @property
    def number(self) -> int:
        """Return its number."""

    @property
    def label(self) -> int | None:
        """Return the index of its class."""


def label_of(classes: Sequence[str], name: str) -> int | None:
    """Return the index of a class by its name, None for no name. Raises Refusal(class_unknown, 400)."""
    if not name:
        return None
    if name not in classes:
        raise Refusal("class_unknown", f"The classes are {', '.join(classes)}.", 400)
    return classes.index(name)


def take(
    vault: Vault,
    owner: UUID,
    files: Files,
    *,
    classes: Sequence[str],
    label: int | None,
    keep: Callable[[list[Sealed], Added], None],
) -> Added:
    """Read files and seal the scans in them; what gets no row is deleted again.

    Args:
        vault: where to.
        owner: whose they become.
        files: name and content of each; the name is only compared with the content.
        classes: whose folders zip files have.
        label: the class of the files that no folder names.
        keep: writes the rows in a transaction, and what it kept into `Added.scans`.

    Raises:
        VaultError: the owner's scans were erased in the meantime.
        Refusal: `hub_disk_full` (507); none of the files is kept then.
    """
    done, sealed = Added(), list[Sealed]()
    try:
        for place, item in _read(files, classes, label):
            if isinstance(item, Problem):
                done.refused.append(item)
                continue
            scan, its_label = item
            one = Sealed(place, uuid4(), scan.digest, its_label, scan.kind, scan.width, scan.height)
            sealed.append(one)
            vault.write(owner, one.scan_id, scan.png)
        keep(sealed, done)
    except OSError as error:
        raise storage.disk_refusal(error) from error
    finally:
        kept = {scan.pk for scan in done.scans}
        for one in sealed:
            if one.scan_id not in kept:
                vault.remove(owner, one.scan_id)
    return done


def sort_out(
    sealed: Iterable[Sealed], known: Mapping[str, Known], done: Added, *, most: int, full: tuple[str, str]
) -> list[tuple[int, Sealed]]:
    """Return what gets a row, each with its number; what is here already, or too much, is told in `done`.

    Args:
        sealed: what came.
        known: the rows that are there, by digest.
        done: what is told.
        most: scans that an owner may have.
        full: the code and the sentence for more.
    """
    there: dict[str, tuple[int, int | None]] = {digest: (one.number, one.label) for digest, one in known.items()}
    number = max((number for number, _ in there.values()), default=0)
    kept = []
    for one in sealed:
        if (same := there.get(one.digest)) is not None:
            _tell_copy(same, one, done)
        elif len(there) >= most:
            done.refused.append(Problem(one.place, *full))
        else:
            number += 1
            there[one.digest] = number, one.label
            kept.append((number, one))
    return kept


def _tell_copy(same: tuple[int, int | None], one: Sealed, done: Added) -> None:
    number, label = same
    if one.label is None or one.label == label:
        done.copies.append(Copy(one.place, number))
    else:
        detail = f"The same image is scan {number}, of another class."
        done.refused.append(Problem(one.place, "conflicting_label", detail))


Item = Problem | tuple[intake.Scan, int | None]


def _read(files: Files, classes: Sequence[str], label: int | None) -> Iterator[tuple[str, Item]]:
    for number, (name, file) in enumerate(files, start=1):
        place = str(number)
        try:
            start = file.read(_MAGIC)
            file.seek(0)
            if bundle.is_bundle(start):
                yield from _read_bundle(place, file, classes, label)
                continue
            data = file.read(MOST_BYTES + 1)
            if len(data) > MOST_BYTES:
                yield place, Problem(place, "image_too_large", f"A scan has at most {MOST_BYTES >> 20} MiB.")
            else:
                yield place, (intake.read_scan(name, data), label)
        except CoreError as error:
            yield place, Problem(place, error.code, error.detail)


def _read_bundle(place: str, file: BinaryIO, classes: Sequence[str], label: int | None) -> Iterator[tuple[str, Item]]:
    with bundle.read_bundle(file, classes) as entries:
        for entry in entries:
            inner = f"{place}, entry {entry.number}"
            if isinstance(entry, bundle.Refused):
                yield inner, Problem(inner, entry.code, entry.detail)
            else:
                yield inner, (entry.scan, label if entry.label is None else entry.label)
