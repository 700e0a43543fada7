"""Writers stand in line: one transaction at a time, whichever database it is.

SQLite has one writer at a time and lets the others ask again and again, the longer they have waited the more rarely: on
a busy machine one of them may starve until it fails with "database is locked". A file lock wakes who waits.

PostgreSQL would let them in together: each would lock the rows that it happens to change first, what one has read
another would change before it writes, and two could wait for each other. A lock that each takes before it reads
anything makes it what SQLite is.

SQLite's log (WAL) is written back into the database by whoever has the turn, while a lock keeps every writer out, those
too that stand in no line: SQLite before 3.51.3 may damage a database where one process commits while another writes
back (https://sqlite.org/wal.html#walresetbug), which it does by itself at some commit of any process.
"""

import fcntl
import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from django.db import DatabaseError, connection
from django.db import transaction as database

# Of the advisory locks of a database: the letters "hospint".
LOCK = int.from_bytes(b"hospint")
# SQLite itself does it every thousand pages; a transaction writes some eight.
WRITE_BACK_EVERY = 128
_COUNT_BYTES = 8
# For single statements outside of a transaction, which take milliseconds. Whoever comes next tries again.
_STATEMENT_SECONDS = 0.5
# Of an error's extended code.
_PRIMARY = 0xFF

logger = logging.getLogger(__name__)


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
        file = Path(connection.settings_dict["NAME"]).resolve()
        with _turn(file) as line:
            with database.atomic():  # noqa: TID251 - as above
                yield
            _committed(file, line)


def _committed(file: Path, line: int) -> None:
    """Count the transactions since the log was written back, of all processes; write it back when there are many.

    What is committed is committed: what fails here is tried again after the next transaction, as SQLite does.
    """
    try:
        count = int.from_bytes(os.pread(line, _COUNT_BYTES, 0)) + 1
        if count >= WRITE_BACK_EVERY and _write_back(file):
            count = 0
        os.pwrite(line, count.to_bytes(_COUNT_BYTES), 0)
    except (OSError, sqlite3.Error, DatabaseError):
        logger.exception("The database's log cannot be written back; trying again")


def _write_back(file: Path) -> bool:
    """Write SQLite's log back into the database while nobody can write. Return whether that was so."""
    with closing(sqlite3.connect(file, timeout=_STATEMENT_SECONDS, isolation_level=None)) as lock:
        try:
            lock.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & _PRIMARY != sqlite3.SQLITE_BUSY:
                raise
            return False
        try:
            with connection.cursor() as cursor:
                cursor.execute("PRAGMA wal_checkpoint(PASSIVE)")
        finally:
            lock.execute("ROLLBACK")
    return True


@contextmanager
def _turn(file: Path) -> Iterator[int]:
    """Hold the lock beside a database, and give its file. The kernel frees it when its holder dies."""
    # Opened anew each time: threads, and children that were forked, would share the lock of one that stays open.
    line = os.open(file.with_name(f"{file.name}-turn"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(line, fcntl.LOCK_EX)
        yield line
    finally:
        # Not left to closing: a child forked meanwhile has it open too.
        fcntl.flock(line, fcntl.LOCK_UN)
        os.close(line)
