"""Opening files that others may have put there: no waiting on a pipe, and no secret that somebody else can use."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO, Final, cast

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
# Neither flag exists everywhere; on a regular file neither changes anything.
_FLAGS: Final = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file to read its bytes; OSError (EINVAL) at once for a pipe, a device or a folder."""
    # Without O_NONBLOCK, opening a named pipe waits until somebody writes into it: for ever.
    file = cast("BinaryIO", open(path, "rb", opener=lambda name, flags: os.open(name, flags | _FLAGS)))  # noqa: SIM115 - the caller closes it
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return file


def exposure(status: os.stat_result) -> str:
    """Say who but this process' user may use a file or folder with this ``status``: "" where nobody may.

    Always "" on systems without POSIX owners and modes.
    """
    if os.name != "posix":
        return ""
    if status.st_uid != os.geteuid():
        return "it belongs to another user"
    return "others than its owner may use it" if status.st_mode & _OTHERS else ""
