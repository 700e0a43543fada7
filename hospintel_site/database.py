"""Which errors of the database pass by themselves."""

import sqlite3

from django.db import InterfaceError, InternalError, OperationalError

AWAY = "database_away"
# Of SQLite's OperationalErrors those that pass: it is locked, or its disk is full or broken. The others are our fault.
_PASSING = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
}
_PRIMARY = 0xFF  # of an extended code
# PostgreSQL's word for a transaction whose next statement did not arrive in time.
_ENDED_WHILE_IDLE = "25P03"


def is_away(error: BaseException | None) -> bool:
    """Return whether an error is the database's that does not answer now: its line, a restart, a lock, a full disk."""
    if isinstance(error, InternalError):
        return getattr(error.__cause__, "sqlstate", None) == _ENDED_WHILE_IDLE
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    cause = error.__cause__
    return not isinstance(cause, sqlite3.Error) or cause.sqlite_errorcode & _PRIMARY in _PASSING
