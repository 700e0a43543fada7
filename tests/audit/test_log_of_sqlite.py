"""SQLite's log is written back under the writers' turn, while nobody can write."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from django.contrib.auth.models import Group
from django.db import connection

from apps.audit import turns
from apps.audit.api import transaction, verify

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL writes its log back by itself"),
]
LINE = "-turn"


@pytest.fixture
def file() -> Iterator[Path]:
    """The database, its log written back as far as the count knows."""
    with transaction():
        pass
    file = Path(connection.settings_dict["NAME"])
    file.with_name(file.name + LINE).write_bytes(b"")
    turns._write_back(file)
    yield file
    # Other files' tests go on in it.
    turns._write_back(file)


def commit(times: int) -> None:
    for number in range(times):
        with transaction():
            Group.objects.create(name=f"{Group.objects.count()}-{number}")


def left_in_the_log(file: Path) -> int:
    """Pages of the log that are not in the database yet."""
    # Asked of a copy of SQLite's index of the log, whose header says both: asking SQLite itself would write them back.
    index = file.with_name(file.name + "-shm").read_bytes()
    pages, written_back = (int.from_bytes(index[at : at + 4], "little") for at in (16, 96))
    return pages - written_back


def test_no_process_writes_it_back_by_itself(file: Path):
    with connection.cursor() as cursor:
        assert cursor.execute("PRAGMA wal_autocheckpoint").fetchone() == (0,)
    commit(turns.WRITE_BACK_EVERY - 1)
    assert left_in_the_log(file) > turns.WRITE_BACK_EVERY


def test_after_many_transactions_it_is_written_back(file: Path):
    commit(turns.WRITE_BACK_EVERY)
    assert left_in_the_log(file) == 0
    size = file.with_name(file.name + "-wal").stat().st_size
    commit(3 * turns.WRITE_BACK_EVERY)
    assert left_in_the_log(file) == 0
    # Begun anew each time.
    assert file.with_name(file.name + "-wal").stat().st_size < 2 * size
    assert verify().ok


def test_it_waits_for_a_statement_of_somebody_else_and_comes_after_it(file: Path, monkeypatch: pytest.MonkeyPatch):
    commit(turns.WRITE_BACK_EVERY - 1)
    monkeypatch.setattr(turns, "_STATEMENT_SECONDS", 0.01)

    with closing(sqlite3.connect(file, isolation_level=None)) as other:

        def written_meanwhile() -> None:
            other.execute("BEGIN IMMEDIATE")
            assert not turns._write_back(file)
            other.execute("ROLLBACK")

        written_meanwhile()
    assert left_in_the_log(file) > 0
    commit(1)
    assert left_in_the_log(file) == 0


def test_nobody_can_write_meanwhile(file: Path, monkeypatch: pytest.MonkeyPatch):
    refused = []

    class Watched:
        """Django's connection, which tries to write from elsewhere just before it writes the log back."""

        def cursor(self) -> object:
            with closing(sqlite3.connect(file, timeout=0, isolation_level=None)) as other:
                with pytest.raises(sqlite3.OperationalError, match="locked") as raised:
                    other.execute("DELETE FROM auth_group")
                refused.append(raised.value.sqlite_errorname)
            return connection.cursor()

    monkeypatch.setattr(turns, "connection", Watched())
    assert turns._write_back(file)
    assert refused == ["SQLITE_BUSY"]


def test_what_fails_there_fails_no_transaction(
    file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    commit(turns.WRITE_BACK_EVERY - 1)

    def breaks(_: Path) -> bool:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(turns, "_write_back", breaks)
        commit(1)
    assert "cannot be written back" in caplog.text
    assert Group.objects.count() == turns.WRITE_BACK_EVERY
    commit(1)
    assert left_in_the_log(file) == 0
