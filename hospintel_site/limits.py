"""How large a request body may be and how long it may take, by path: the one table. `server.py` applies it."""

import re
from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB

# Of one address; of one network of IPv6, where a single customer has 2^64 addresses.
MOST_CONNECTIONS = 128
# Bodies that are larger than this lie on the disk before anybody knows who sent them: so many at a time and no more.
LARGE_BYTES = 16 * MIB
MOST_LARGE = 8
# A body that is larger lies on the disk while it comes.
IN_MEMORY = 256 * KIB
# What a page may send on its socket, where it has nothing to say.
SOCKET_BYTES = KIB
# How long a page's socket may take to open; then it is refused, and the page tries again.
OPEN_SECONDS = 60


@dataclass(frozen=True)
class Limit:
    """What one request may cost: bytes of body, and seconds until it is here."""

    most_bytes: int
    base_seconds: float = 60.0
    # The slowest honest line; 0 where no body is large enough to need longer.
    bytes_per_second: int = 0
    # Whether people send it too, whose browsers have a session's cookie.
    people: bool = False

    def seconds(self, length: int | None) -> float:
        """Return how long a request with this Content-Length may take; None if it does not say."""
        size = self.most_bytes if length is None else length
        return self.base_seconds + (size / self.bytes_per_second if self.bytes_per_second else 0.0)


# Forms, and JSON of the API.
DEFAULT = Limit(64 * KIB)

# For callers with an Authorization header, or a cookie where people call too; neither is checked here, only asked for.
_TABLE: tuple[tuple[re.Pattern[str], Limit], ...] = (
    # A part of at most 4 MiB. A hospital's line may be as slow as 1 kB/s.
    (re.compile(r"/api/v1/rounds/[^/]+/update/?"), Limit(5 * MIB, bytes_per_second=800)),
    # A whole sealed update in one multipart body: 8.5 MB with the largest architecture.
    (re.compile(r"(/api/v1)?/update/?"), Limit(10 * MIB, bytes_per_second=800)),
    # One scan that a doctor has the hub read, sealed in the browser (apps/analyse/pipeline/ask.py).
    (re.compile(r"/analyse/readings"), Limit(33 * MIB, bytes_per_second=64 * KIB, people=True)),
    # Scans for the workbench, and for the validation set: a few at a time, or a zip file.
    (
        re.compile(r"/api/v1/(jobs/[^/]+|validation)/scans/?|/workbench/[^/]+/|/validation/"),
        Limit(33 * MIB, bytes_per_second=64 * KIB, people=True),
    ),
    # A whole Keras model with its optimizer's state (hospintel_core/uploaded.py), over half a megabit a second.
    (
        re.compile(r"(/api/v1)?/upload_model/?|/models/upload/?"),
        Limit(129 * MIB, bytes_per_second=64 * KIB, people=True),
    ),
)


def limit_for(path: str, *, authorization: bool, cookie: bool = False) -> Limit:
    """Return the limit of a request to `path` (without its query), by the headers that came with it."""
    for pattern, limit in _TABLE:
        if (authorization or (cookie and limit.people)) and pattern.fullmatch(path):
            return limit
    return DEFAULT
