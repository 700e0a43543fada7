"""Files in a folder, of this machine or shared between machines: temporary, fsync, rename, fsync folder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import inf
from pathlib import Path
from uuid import uuid4

from apps.federation.pipeline.objects import Objects, Reader, Stored

# What `put` and `draft` begin, and what hospintel_core.h5 does beside a draft.
_DRAFTS = (".*.tmp", ".*.part")


@dataclass(frozen=True)
class Folder(Objects):
    """Files under a folder. `private` ones are for the hub's account alone, whatever its umask."""

    root: Path
    private: bool = False

    def put(self, name: str, data: bytes, *, lasting: bool = True) -> None:
        """See `Objects.put`."""
        path = self._path(name)
        temporary = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
        try:
            with os.fdopen(self._create(temporary), "wb") as file:
                file.write(data)
                file.flush()
                if lasting:
                    os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        if lasting:
            _fsync_folder(path.parent)

    def put_file(self, name: str, draft: Path) -> None:
        """See `Objects.put_file`: it is moved."""
        path = self._path(name)
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        self._make(path.parent)
        draft.replace(path)
        _fsync_folder(path.parent)

    @contextmanager
    def draft(self) -> Iterator[Path]:
        """See `Objects.draft`."""
        path = self.root / f".{uuid4().hex}.tmp"
        os.close(self._create(path))
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def get(self, name: str) -> bytes:
        """See `Objects.get`."""
        return self._path(name).read_bytes()

    def find(self, name: str) -> Stored | None:
        """See `Objects.find`."""
        return self._found(self._path(name))

    def open(self, found: Stored, first: int = 0) -> Reader:
        """See `Objects.open`."""
        # Unbuffered: what is read is read in blocks.
        file = self._path(found.name).open("rb", buffering=0)
        try:
            if _tag(os.fstat(file.fileno())) != found.tag:
                raise FileNotFoundError(found.name)
            file.seek(first)
        except BaseException:
            file.close()
            raise
        return file

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """See `Objects.local`: the file itself."""
        path = self._path(name)
        path.stat()
        yield path

    def delete(self, name: str) -> None:
        """See `Objects.delete`. A folder that is empty then goes too, but for those directly under the root."""
        path = self._path(name)
        path.unlink(missing_ok=True)
        for folder in path.parents:
            if self.root in (folder.parent, folder):
                return
            try:
                folder.rmdir()
            except OSError:  # it is not empty, or another process was quicker
                return

    def list(self, prefix: str, before: float = inf) -> list[Stored]:
        """See `Objects.list`."""
        start = self.root / prefix.rpartition("/")[0]
        found = [self._found(path) for path in _files(start) if not path.name.startswith(".")]
        return [one for one in found if one is not None and one.name.startswith(prefix) and one.modified < before]

    def sweep(self, before: float) -> None:
        """See `Objects.sweep`."""
        for path in _files(self.root):
            if any(path.match(pattern) for pattern in _DRAFTS):
                with suppress(FileNotFoundError):
                    if path.stat().st_mtime < before:
                        path.unlink()

    def _path(self, name: str) -> Path:
        return self.root / name

    def _found(self, path: Path) -> Stored | None:
        try:
            state = path.stat()
        except FileNotFoundError:
            return None
        return Stored(self, path.relative_to(self.root).as_posix(), state.st_size, _tag(state), state.st_mtime)

    def _make(self, folder: Path) -> None:
        if folder.is_dir():
            return
        if folder != self.root:
            self._make(folder.parent)
        folder.mkdir(mode=0o700 if self.private else 0o777, parents=True, exist_ok=True)
        _fsync_folder(folder.parent)

    def _create(self, path: Path) -> int:
        flags, mode = os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if self.private else 0o666
        while True:
            self._make(path.parent)
            # `delete` may have taken the empty folder away in this moment.
            with suppress(FileNotFoundError):
                return os.open(path, flags, mode)


def _tag(state: os.stat_result) -> str:
    return f"{state.st_ino}-{state.st_mtime_ns}-{state.st_size}"


def _files(start: Path) -> Iterator[Path]:
    # Unlike glob, a walk goes on where a folder disappears under it.
    return (Path(folder) / name for folder, _, names in os.walk(start) for name in names)


def _fsync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
