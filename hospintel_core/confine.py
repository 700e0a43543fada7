"""Limits that a process puts on itself before it reads what nobody should trust. Linux has all of them.

Imports nothing but the standard library: a process can only leave its user namespace while it has one thread, and numpy
may start more.
"""

import ctypes
import os
import resource
import sys
from typing import Any, Final

MEMORY_BYTES: Final = 3 << 29
CPU_SECONDS: Final = 30
# What the process may write to files: the traceback of a fault of ours.
FILE_BYTES: Final = 64 * 1024
TRIPPED: Final = 70
# From linux/sched.h, linux/prctl.h and linux/capability.h.
_NEW_USER, _NEW_NET, _NEW_IPC = 0x10000000, 0x40000000, 0x08000000
_SET_DEATH_SIGNAL, _NO_NEW_PRIVILEGES = 1, 38
_SIGKILL = 9
_CAPABILITIES_V3 = 0x20080522
# What Python reports by itself while arrays are read; opening, importing, starting or connecting is not among it.
_HARMLESS = frozenset({"builtins.id", "object.__getattr__", "sys._getframe", "cpython._PySys_ClearAuditHooks"})


def limit() -> None:
    """Bound memory, processor time and what is written to files; no core file. Ends with whoever started it."""
    for kind, most in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (most, most))
    if library := _libc():
        library.prctl(_SET_DEATH_SIGNAL, _SIGKILL, 0, 0, 0)


def leave_network() -> bool:
    """Move into a user namespace and an empty network of its own; False where the kernel does not allow it.

    To be called while the process has a single thread.
    """
    library = _libc()
    if library is None:
        return False
    spaces = _NEW_NET | _NEW_IPC
    return any(library.unshare(flags) == 0 for flags in (_NEW_USER | spaces, spaces))


def leave_files() -> bool:
    """Make the working folder, which should be empty, the root of all paths; False where that is not allowed."""
    try:
        os.chroot(".")
    except OSError:
        return False
    return True


def shut() -> None:
    """Give up every privilege, and the right to open a file or start a process. What is to be imported is imported.

    From here on whatever Python reports as more than reading ends the process with exit code 70.
    """
    if library := _libc():
        library.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        header, none = (ctypes.c_uint32 * 2)(_CAPABILITIES_V3, 0), (ctypes.c_uint32 * 6)()
        library.capset(header, none)
    # Standard input, output and error are open; HDF5's own code cannot open a fourth file either.
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    sys.addaudithook(_watch)


def _watch(event: str, _arguments: tuple[object, ...]) -> None:
    if event not in _HARMLESS:
        os.write(2, f"reading a model led to {event}\n".encode())
        os._exit(TRIPPED)


def _libc() -> Any:
    """Return the C library where these calls are Linux' own, else None."""
    return ctypes.CDLL(None) if sys.platform == "linux" else None
