"""What the agent has done in each task, so that a restart at any moment goes on where it stopped.

One row per round and kind of task. SQLite with WAL and synchronous=FULL: what a call wrote survives a power failure.

    TASK -> TRAINED -> SEALED -> UPLOADED -> ACCEPTED | REFUSED | EXPIRED

An `evaluate` task goes from TASK to ACCEPTED at once. TRANSITIONS has the ways back.
"""

import itertools
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Self
from uuid import UUID

from client_agent.errors import StorageError, storing
from hospintel_core.failpoints import reach

BUSY_TIMEOUT: Final = 10.0
NOT_SELECTED: Final = "not_selected"
ASKED_OTHERS: Final = "the hub asked other hospitals in this round; nothing is wrong, a later one asks this agent"


class State(StrEnum):
    """How far a task has come."""

    TASK = "TASK"
    TRAINED = "TRAINED"
    SEALED = "SEALED"
    UPLOADED = "UPLOADED"
    ACCEPTED = "ACCEPTED"
    REFUSED = "REFUSED"
    EXPIRED = "EXPIRED"


FINAL: Final = frozenset({State.ACCEPTED, State.REFUSED, State.EXPIRED})
_ENDS: Final = FINAL
TRANSITIONS: Final[Mapping[State, frozenset[State]]] = {
    State.TASK: frozenset({State.TRAINED}) | _ENDS,
    # Back to TASK where the delta's file is gone.
    State.TRAINED: frozenset({State.SEALED, State.UPLOADED, State.TASK}) | _ENDS,
    # Back to TRAINED where the seal is too old or its file is gone: it is sealed again.
    State.SEALED: frozenset({State.UPLOADED, State.TRAINED}) | _ENDS,
    # Back to TRAINED where the hub refused and another seal can help, or where it lost the upload.
    State.UPLOADED: frozenset({State.TRAINED}) | _ENDS,
    # The hub asks again for what it had: it was restored from a backup, or it moved a deadline.
    State.ACCEPTED: frozenset({State.TASK}),
    State.EXPIRED: frozenset({State.TASK}),
    State.REFUSED: frozenset(),
}

# Entry n brings a journal from format n to n + 1; a journal of any age is brought to the newest when it is opened.
_FORMATS: Final[tuple[tuple[str, ...], ...]] = (
    (
        """
        CREATE TABLE rounds (
            round_id TEXT NOT NULL,
            kind TEXT NOT NULL,
            federation TEXT NOT NULL,
            number INTEGER NOT NULL,
            state TEXT NOT NULL,
            manifest TEXT NOT NULL,
            code TEXT NOT NULL DEFAULT '',
            detail TEXT NOT NULL DEFAULT '',
            attempt INTEGER NOT NULL DEFAULT 0,
            sealed_ms INTEGER NOT NULL DEFAULT 0,
            sealed_digest TEXT NOT NULL DEFAULT '',
            samples INTEGER NOT NULL DEFAULT 0,
            train_ms INTEGER NOT NULL DEFAULT 0,
            bytes_up INTEGER NOT NULL DEFAULT 0,
            bytes_down INTEGER NOT NULL DEFAULT 0,
            started_ms INTEGER NOT NULL,
            changed_ms INTEGER NOT NULL,
            PRIMARY KEY (round_id, kind)
        ) WITHOUT ROWID
        """,
        "CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
        "INSERT INTO counters VALUES ('seq', 0)",
    ),
    # What the hospital's sheet of rounds tells beyond that.
    (
        "ALTER TABLE rounds ADD COLUMN version INTEGER",
        "ALTER TABLE rounds ADD COLUMN model TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE rounds ADD COLUMN report TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE rounds ADD COLUMN trained TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE rounds ADD COLUMN epochs TEXT NOT NULL DEFAULT ''",
    ),
    # Each run counts its rounds anew: two of the same number are told apart by it.
    ("ALTER TABLE rounds ADD COLUMN run_id TEXT NOT NULL DEFAULT ''",),
    # Whether it is known what became of the round after the update was accepted; of old rounds nobody asks.
    (
        "ALTER TABLE rounds ADD COLUMN settled INTEGER NOT NULL DEFAULT 0",
        "UPDATE rounds SET settled = 1",
    ),
)
SCHEMA_VERSION: Final = len(_FORMATS)
_CHANGES: Final = frozenset(
    {
        "code",
        "detail",
        "attempt",
        "sealed_ms",
        "sealed_digest",
        "samples",
        "train_ms",
        "manifest",
        "report",
        "trained",
        "epochs",
    }
)


@dataclass(frozen=True)
class Row:
    """One task. `manifest` is the hub's signed manifest as it came (JSON); times are ms UTC, sizes bytes.

    `settled` is 1 when it is known what became of the round of an accepted update. `version` and `model` (SHA-256)
    name what was received; `run_id` is empty in rows of older agents. As JSON, empty
    until it is known: `report`, how good the model is on the validation scans; `trained`, how many scans of each class
    trained; `epochs`, loss and accuracy of each epoch.
    """

    round_id: UUID
    kind: str
    federation: str
    number: int
    state: State
    manifest: str
    code: str
    detail: str
    attempt: int
    sealed_ms: int
    sealed_digest: str
    samples: int
    train_ms: int
    bytes_up: int
    bytes_down: int
    started_ms: int
    changed_ms: int
    version: int | None
    model: str
    report: str
    trained: str
    epochs: str
    run_id: str
    settled: int

    @property
    def final(self) -> bool:
        """Whether the task has ended."""
        return self.state in FINAL


class Journal:
    """The agent's SQLite file. One thread, one process (see `Home.locked`); `status` may read beside it."""

    def __init__(self, path: Path, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self._now_ms = now_ms
        with storing("the journal"):
            self._db = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None)
        try:
            self._open()
        except BaseException:
            self._db.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def begin(
        self,
        *,
        round_id: UUID,
        kind: str,
        federation: str,
        number: int,
        manifest: str,
        run_id: str = "",
        version: int | None = None,
        model: str = "",
        issued_ms: int = 0,
    ) -> Row:
        """Note a task that the hub gave; one that is open already stays as it is, one that ended well starts again.

        A REFUSED row stays refused: the same work would be refused again.
        """
        now = self._now_ms()
        with self._transaction():
            self._db.execute(
                "INSERT OR IGNORE INTO rounds"
                " (round_id, kind, federation, number, state, manifest, run_id, version, model, started_ms, changed_ms)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (str(round_id), kind, federation, number, State.TASK, manifest, run_id, version, model, now, now),
            )
            self._db.execute(
                "UPDATE rounds SET state = ?, manifest = ?, version = ?, model = ?,"
                " code = '', detail = '', attempt = 0, settled = 0, changed_ms = ?"
                " WHERE round_id = ? AND kind = ? AND state IN (?, ?)",
                (State.TASK, manifest, version, model, now, str(round_id), kind, State.ACCEPTED, State.EXPIRED),
            )
            self._db.execute(
                "INSERT INTO counters VALUES ('issued_ms', ?)"
                " ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)",
                (issued_ms,),
            )
        return self.get(round_id, kind)

    def pass_over(self, *, round_id: UUID, federation: str, number: int, run_id: str) -> bool:
        """Note a round that asked other agents. Returns whether that is news: a round that is known stays as it is."""
        now = self._now_ms()
        values = (str(round_id), federation, number, State.EXPIRED, run_id, NOT_SELECTED, ASKED_OTHERS, now, now)
        with self._transaction():
            added = self._db.execute(
                "INSERT OR IGNORE INTO rounds"
                " (round_id, kind, federation, number, state, manifest, run_id, code, detail, started_ms, changed_ms)"
                " VALUES (?, 'train', ?, ?, ?, '', ?, ?, ?, ?, ?)",
                values,
            )
        return added.rowcount == 1

    def get(self, round_id: UUID, kind: str) -> Row:
        """The row of a task; KeyError where there is none."""
        row = self.find(round_id, kind)
        if row is None:
            raise KeyError(round_id)
        return row

    def find(self, round_id: UUID, kind: str) -> Row | None:
        """The row of a task, None where there is none."""
        rows = self._select("WHERE round_id = ? AND kind = ?", (str(round_id), kind))
        return rows[0] if rows else None

    def advance(self, row: Row, to: State, **changes: str | int) -> Row:
        """Move a task to another state, with `changes` to its other columns; the only writer of a state.

        Raises:
            ValueError: TRANSITIONS does not allow it, or another process moved the row.
            StorageError: the journal cannot be written; the row is as before.
        """
        if to not in TRANSITIONS[row.state] or not changes.keys() <= _CHANGES:
            message = f"{row.state} -> {to} with {sorted(changes)} is not a step of a task"
            raise ValueError(message)
        if to in FINAL:
            # Nobody needs the task any more, and years of rounds should not fill the file.
            changes["manifest"] = ""
        columns = ", ".join(f"{name} = :{name}" for name in ("state", "changed_ms", *changes))
        values = changes | {"state": to, "changed_ms": self._now_ms()}
        key = {"round_id": str(row.round_id), "kind": row.kind, "before": row.state}
        # The column names come from _CHANGES above.
        statement = f"UPDATE rounds SET {columns} WHERE round_id = :round_id AND kind = :kind AND state = :before"  # noqa: S608
        with self._transaction():
            if self._db.execute(statement, values | key).rowcount != 1:
                message = f"the task is no longer in state {row.state}"
                raise ValueError(message)
            reach("agent.before_commit")
        reach("agent.committed")
        return self.get(row.round_id, row.kind)

    def settle(self, row: Row, *, code: str = "", detail: str = "") -> Row:
        """Note what became of the round of an accepted update: `code` and `detail` where the update was not used."""
        with self._transaction():
            self._db.execute(
                "UPDATE rounds SET settled = 1, code = ?, detail = ? WHERE round_id = ? AND kind = ? AND state = ?",
                (code, detail, str(row.round_id), row.kind, State.ACCEPTED),
            )
        return self.get(row.round_id, row.kind)

    def count_bytes(self, row: Row, *, up: int, down: int) -> None:
        """Add to the traffic of a task."""
        with self._transaction():
            self._db.execute(
                "UPDATE rounds SET bytes_up = bytes_up + ?, bytes_down = bytes_down + ?"
                " WHERE round_id = ? AND kind = ?",
                (up, down, str(row.round_id), row.kind),
            )

    def next_seq(self) -> int:
        """A number above all before it; on disk before anyone uses it, so that no restart gives it out twice."""
        with self._transaction():
            found = self._db.execute(
                "UPDATE counters SET value = value + 1 WHERE name = 'seq' RETURNING value"
            ).fetchone()
        return int(found[0])

    def newest_issued_ms(self) -> int:
        """The highest `issued_ms` of all manifests that were begun, 0 before the first."""
        with storing("the journal"):
            found = self._db.execute("SELECT value FROM counters WHERE name = 'issued_ms'").fetchone()
        return int(found[0]) if found else 0

    def unfinished(self) -> list[Row]:
        """Tasks that have not ended, oldest first."""
        return [row for row in self._select("ORDER BY started_ms, round_id", ()) if not row.final]

    def unsettled(self) -> list[Row]:
        """Accepted updates of which it is not known whether they were used, oldest first."""
        rest = "WHERE kind = 'train' AND state = ? AND settled = 0 ORDER BY started_ms, round_id"
        return self._select(rest, (State.ACCEPTED,))

    def latest(self, limit: int) -> list[Row]:
        """The newest tasks, newest first."""
        return self._select("ORDER BY started_ms DESC, changed_ms DESC LIMIT ?", (limit,))

    def rounds(self, number: int | None = None) -> list[Row]:
        """All tasks, or those of the rounds with this number (each run counts anew), oldest first."""
        order = "ORDER BY started_ms, changed_ms, round_id, kind"
        return self._select(order, ()) if number is None else self._select(f"WHERE number = ? {order}", (number,))

    def _open(self) -> None:
        try:
            with storing("the journal"):
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = FULL")
                version = self._version()
            if version < SCHEMA_VERSION:
                version = self._bring_up()
        except sqlite3.DatabaseError as error:
            raise StorageError(
                "journal_broken",
                f"the journal cannot be read: {error}",
                "move journal.sqlite3* away: an open round is then trained again",
            ) from error
        if version != SCHEMA_VERSION:
            raise StorageError(
                "journal_broken",
                f"the journal has format {version}, which this version does not know",
                "update the agent",
            )

    def _version(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def _bring_up(self) -> int:
        """Bring the file to the newest format, in one step; returns the format that it then has."""
        with self._transaction():
            # Another command may have done it while this one waited for the lock.
            for statement in itertools.chain(*_FORMATS[self._version() :]):
                self._db.execute(statement)
            if self._version() < SCHEMA_VERSION:
                self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        return self._version()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with storing("the journal"):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                # SQLite has rolled back by itself after a full disk.
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _select(self, rest: str, values: tuple[Any, ...]) -> list[Row]:
        names = list(Row.__dataclass_fields__)
        # `rest` is one of the constants above.
        statement = f"SELECT {', '.join(names)} FROM rounds {rest}"  # noqa: S608
        with storing("the journal"):
            found = self._db.execute(statement, values).fetchall()
        return [_row(dict(zip(names, values, strict=True))) for values in found]


def _row(values: dict[str, Any]) -> Row:
    return Row(**values | {"round_id": UUID(values["round_id"]), "state": State(values["state"])})
