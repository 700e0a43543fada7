"""One hub for one HOSPINTEL_VAR: whoever runs it, or replaces what is in it, holds a lock on the folder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class FolderInUse(Exception):  # noqa: N818 - the name says it
    """Another process holds the folder; `pid` says which, as far as it is known."""

    def __init__(self, pid: str) -> None:
        super().__init__(f"Process {pid} already runs a hub here.")
        self.pid = pid


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold the folder until the block ends, however it ends. Raises FolderInUse."""
    with (folder / "up.pid").open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise FolderInUse(file.read().strip() or "unknown") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
