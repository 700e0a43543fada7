"""Where files of the hub lie: one interface over a folder (`folder.py`) and a bucket (`bucket.py`).

Names are relative, with `/` between their parts; a part that begins with a dot is nobody's. What is put is there whole
or not at all, and stays, before the call returns: a row of the database may speak of it from then on.
"""

import errno
import time
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Protocol
from uuid import uuid4

# Ages of files are told by the storage's clock.
MOST_CLOCK_SECONDS = 30


class StorageAwayError(OSError):
    """The storage does not answer, or refuses us; `args[1]` says which, for the log and the administrator."""

    def __init__(self, text: str) -> None:
        super().__init__(errno.EHOSTDOWN, text)


def disk_full(text: str) -> OSError:
    """Return what a full disk raises."""
    return OSError(errno.ENOSPC, text)


class Reader(Protocol):
    """What the bytes of a file are read from, in order."""

    def read(self, size: int = -1, /) -> bytes:
        """Return at most so many bytes, none at the end."""

    def close(self) -> object:
        """Let go of it."""


@dataclass(frozen=True)
class Stored:
    """A file as it was found: bytes, when it was put (seconds since 1970) and a tag that another content changes."""

    store: "Objects"
    name: str
    size: int
    tag: str
    # A bucket tells whole seconds by a clock of its own.
    modified: float = field(compare=False)

    @property
    def stem(self) -> str:
        """Return the last part of its name without its end."""
        return Path(self.name).stem

    def open(self, first: int = 0) -> Reader:
        """Open this very content at a byte. Raises FileNotFoundError where it is gone or another."""
        return self.store.open(self, first)


class Objects(ABC):
    """Files by name. Every call may raise StorageAwayError, those that write OSError (ENOSPC) too."""

    @abstractmethod
    def put(self, name: str, data: bytes, *, lasting: bool = True) -> None:
        """Put a file in place of what has this name; `lasting=False` for what may be lost with the power."""

    @abstractmethod
    def put_file(self, name: str, draft: Path) -> None:
        """Put what was written to a draft in place of what has this name."""

    @abstractmethod
    def draft(self) -> AbstractContextManager[Path]:
        """Give the path of an empty file of this machine to write to, which is gone afterwards."""

    @abstractmethod
    def get(self, name: str) -> bytes:
        """Return a file's bytes. Raises FileNotFoundError."""

    @abstractmethod
    def find(self, name: str) -> Stored | None:
        """Return what is there under a name, None for nothing."""

    @abstractmethod
    def open(self, found: Stored, first: int = 0) -> Reader:
        """See `Stored.open`."""

    @abstractmethod
    def local(self, name: str) -> AbstractContextManager[Path]:
        """Give the path of a file of this machine with the content, for programs that need one.

        Raises:
            FileNotFoundError: nothing has this name.
        """

    @abstractmethod
    def delete(self, name: str) -> None:
        """Delete a file; nothing happens where it is gone."""

    @abstractmethod
    def list(self, prefix: str, before: float = inf) -> list[Stored]:
        """Return the files whose names begin so and that were put before a time (seconds since 1970)."""

    @abstractmethod
    def sweep(self, before: float) -> None:
        """Delete the drafts of processes that died before a time."""

    def probe(self) -> str:
        """Put, find, replace, read and delete a small file. Returns what does not work, "" where all does."""
        name = f".{uuid4().hex}.tmp"
        try:
            self.put(name, b"the first")
            self.put(name, b"another")
            found, read = self.find(name), self.get(name)
            self.delete(name)
        except OSError as error:
            return error.strerror or str(error)
        if found is None or read != b"another":
            return "What is put there is not what is read afterwards."
        off = time.time() - found.modified
        return f"Its clock is {off:.0f} s off ours." if abs(off) > MOST_CLOCK_SECONDS else ""
