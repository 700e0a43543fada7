"""Large blocks of memory go back to the system when they are freed.

glibc does so from 128 KiB on, and raises that to the size of what was freed, up to 32 MiB: after the first update of
8 MB the next ones come from its heaps, which a small block at their end keeps from shrinking. Workers then stayed at
400 to 500 MB, now this one and now that one, whatever they were doing.
"""

import ctypes

# M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h. Setting one of them ends the raising of both.
_TRIM, _MMAP = -1, -3
BLOCK_BYTES = 1024 * 1024


def give_back() -> bool:
    """Have this process and those that it forks give blocks of 1 MiB back. Returns whether it can (glibc)."""
    setting = getattr(ctypes.CDLL(None), "mallopt", None)
    return setting is not None and all(setting(name, BLOCK_BYTES) for name in (_TRIM, _MMAP))
