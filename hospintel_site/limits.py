"""How large a request body may be, by path: the one table. `server.py` applies it before a body is kept anywhere."""

import re

MIB = 1024 * 1024
DEFAULT_CAP = 8 * MIB

# (path, most bytes, must the caller show credentials for it?). They are not checked here, only asked for: a stranger
# cannot make the hub keep more than DEFAULT_CAP.
_CAPS: tuple[tuple[re.Pattern[str], int, bool], ...] = (
    # A part of at most 4 MiB.
    (re.compile(r"/api/v1/rounds/[^/]+/update/?"), 5 * MIB, False),
    # A whole sealed update in one multipart body: 8.4 MB with the largest architecture.
    (re.compile(r"(/api/v1)?/update/?"), 16 * MIB, True),
    # A whole Keras model.
    (re.compile(r"(/api/v1)?/upload[_]model/?"), 128 * MIB, True),
    (re.compile(r"/api/v1/jobs/[^/]+/scans/?"), 64 * MIB, True),
)


def cap_for(path: str, *, credentials: bool) -> int:
    """Return how many bytes the body of a request to `path` (without its query) may have."""
    for pattern, cap, needs_credentials in _CAPS:
        if pattern.fullmatch(path):
            return min(cap, DEFAULT_CAP) if needs_credentials and not credentials else cap
    return DEFAULT_CAP
