"""Writers stand in line: one transaction at a time, whichever database it is.

SQLite has one writer at a time and lets the others ask again and again, the longer they have waited the more rarely: on
a busy machine one of them may starve until it fails with "database is locked". A file lock wakes who waits.

PostgreSQL would let them in together: each would lock the rows that it happens to change first, what one has read
another would change before it writes, and two could wait for each other. A lock that each takes before it reads
anything makes it what SQLite is.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.db import connection
from django.db import transaction as database

# Of the advisory locks of a database: the letters "hospint".
LOCK = int.from_bytes(b"hospint")


@contextmanager
def writing() -> Iterator[None]:
    """Open a transaction of the database when it is one's turn; inside an open one a savepoint."""
    if connection.vendor == "postgresql":
        with database.atomic():  # noqa: TID251 - the one place
            # Until the end of the transaction. Who has it already gets it at once.
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
            yield
    elif connection.in_atomic_block:
        # Whoever is inside a transaction already has the database's own lock: waiting here would be a deadlock.
        with database.atomic():  # noqa: TID251 - as above
            yield
    else:
        with _turn(Path(connection.settings_dict["NAME"]).resolve()), database.atomic():  # noqa: TID251 - as above
            yield


@contextmanager
def _turn(file: Path) -> Iterator[None]:
    """Hold the lock beside a database. The kernel frees it when its holder dies."""
    # Opened anew each time: threads, and children that were forked, would share the lock of one that stays open.
    line = os.open(file.with_name(f"{file.name}-turn"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(line, fcntl.LOCK_EX)
        yield
    finally:
        # Not left to closing: a child forked meanwhile has it open too.
        fcntl.flock(line, fcntl.LOCK_UN)
        os.close(line)
