"""The demo's own folder: emptied at each start, and used by one demo at a time."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from hospintel_site.demo.errors import DemoError

# Held while a demo runs, and the sign that what lies beside it may be deleted.
MARK = "demo.lock"


@contextmanager
def emptied(folder: Path, *, ours: bool) -> Iterator[None]:
    """Empty the folder and hold it for the time of the block.

    Args:
        folder: made where it is missing.
        ours: whether it is the place that only demos use; elsewhere files are deleted only beside the mark of a demo.

    Raises:
        DemoError: another demo runs in it, it holds files that no demo made, or it cannot be written.
    """
    try:
        if ours:
            # `var`, in which a hub of one's own will keep its keys.
            folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        if not ours and any(folder.iterdir()) and not (folder / MARK).exists():
            raise DemoError(f"{folder} holds files that no demo made.", "Choose an empty folder, or that of a demo.")
        mark = _hold(folder / MARK)
        _empty(folder)
    except OSError as error:
        raise DemoError(f"The demo's folder cannot be used: {error}.") from error
    with mark:
        yield


def _hold(path: Path) -> TextIO:
    mark = path.open("a+", encoding="ascii")
    try:
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        mark.seek(0)
        pid = mark.read().strip() or "unknown"
        mark.close()
        raise DemoError(f"Another demo, process {pid}, uses {path.parent}.", "End it first.") from None
    mark.truncate(0)
    mark.write(str(os.getpid()))
    mark.flush()
    return mark


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != MARK:
            path.unlink()
