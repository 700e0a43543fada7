"""The journal: legal steps only, numbers that never come back, and files of other versions."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from client_agent.errors import StorageError
from client_agent.journal import _FORMATS, FINAL, SCHEMA_VERSION, TRANSITIONS, Journal, Row, State

ROOT = Path(__file__).parents[2]


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "journal.sqlite3") as found:
        yield found


def _begin(journal: Journal, round_id: UUID | None = None, kind: str = "train", number: int = 1) -> Row:
    return journal.begin(round_id=round_id or uuid4(), kind=kind, federation="brain-mri", number=number, manifest="{}")


def test_every_state_has_its_steps_and_every_round_can_end() -> None:
    assert TRANSITIONS.keys() == set(State)
    assert all(TRANSITIONS[state] >= FINAL for state in State if state not in FINAL)


def test_a_task_goes_through_its_states_and_keeps_what_was_noted(journal: Journal) -> None:
    row = _begin(journal)
    row = journal.advance(row, State.TRAINED, samples=40, train_ms=1234)
    row = journal.advance(row, State.SEALED, attempt=1, sealed_ms=5, sealed_digest="ab")
    row = journal.advance(row, State.UPLOADED)
    assert row.manifest == "{}"
    row = journal.advance(row, State.ACCEPTED)
    assert row.manifest == ""
    assert (row.samples, row.train_ms, row.attempt, row.sealed_digest) == (40, 1234, 1, "ab")
    assert row.final


def test_a_step_that_the_table_does_not_have_is_refused(journal: Journal) -> None:
    row = _begin(journal)
    with pytest.raises(ValueError, match="not a step"):
        journal.advance(row, State.UPLOADED)


def test_a_row_that_somebody_else_moved_is_not_moved_again(journal: Journal) -> None:
    row = _begin(journal)
    journal.advance(row, State.TRAINED)
    with pytest.raises(ValueError, match="no longer"):
        journal.advance(row, State.EXPIRED)


def test_a_task_that_is_offered_twice_is_one_row(journal: Journal) -> None:
    row = _begin(journal)
    moved = journal.advance(row, State.TRAINED)
    assert _begin(journal, row.round_id).state == moved.state


def test_an_accepted_task_starts_again_where_the_hub_asks_and_a_refused_one_never(journal: Journal) -> None:
    accepted = journal.advance(_begin(journal), State.ACCEPTED)
    refused = journal.advance(_begin(journal), State.REFUSED, code="norm_range")
    assert _begin(journal, accepted.round_id).state == State.TASK
    assert _begin(journal, refused.round_id).state == State.REFUSED


def test_training_and_evaluating_in_one_round_are_two_rows(journal: Journal) -> None:
    row = _begin(journal)
    _begin(journal, row.round_id, kind="evaluate")
    assert len(journal.unfinished()) == 2


def test_sequence_numbers_survive_the_process(tmp_path: Path) -> None:
    numbers = []
    for _ in range(3):
        with Journal(tmp_path / "journal.sqlite3") as journal:
            numbers += [journal.next_seq(), journal.next_seq()]
    assert numbers == [1, 2, 3, 4, 5, 6]


def test_every_commit_is_on_disk_before_the_next_step(journal: Journal, tmp_path: Path) -> None:
    beside = sqlite3.connect(tmp_path / "journal.sqlite3")
    assert beside.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    beside.close()
    assert journal._db.execute("PRAGMA synchronous").fetchone() == (2,)


def test_traffic_adds_up(journal: Journal) -> None:
    row = _begin(journal)
    journal.count_bytes(row, up=10, down=1)
    journal.count_bytes(row, up=5, down=0)
    found = journal.get(row.round_id, "train")
    assert (found.bytes_up, found.bytes_down) == (15, 1)


def test_the_newest_tasks_come_first(tmp_path: Path) -> None:
    now = iter(range(1000, 2000))
    with Journal(tmp_path / "j", lambda: next(now)) as journal:
        for number in range(5):
            _begin(journal, number=number)
        assert [row.number for row in journal.latest(3)] == [4, 3, 2]
        assert [row.number for row in journal.unfinished()] == [0, 1, 2, 3, 4]


def test_a_file_that_is_no_journal_is_told(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite3").write_bytes(b"not a database, but long enough to be looked at" * 50)
    with pytest.raises(StorageError) as caught:
        Journal(tmp_path / "journal.sqlite3")
    assert caught.value.code == "journal_broken"


def test_a_journal_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    Journal(path).close()
    newer = sqlite3.connect(path)
    newer.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    newer.close()
    with pytest.raises(StorageError) as caught:
        Journal(path)
    assert "update the agent" in caught.value.hint


def _first_format(path: Path) -> None:
    """A journal as the first version of the agent left it, in the midst of a round."""
    with closing(sqlite3.connect(path)) as old:
        for statement in _FORMATS[0]:
            old.execute(statement)
        old.execute(
            "INSERT INTO rounds (round_id, kind, federation, number, state, manifest, samples, started_ms, changed_ms)"
            " VALUES (?, 'train', 'brain-mri', 7, 'TRAINED', '{}', 40, 1, 2)",
            (str(UUID(int=7)),),
        )
        old.execute("UPDATE counters SET value = 5 WHERE name = 'seq'")
        old.execute("PRAGMA user_version = 1")
        old.commit()


def test_a_journal_of_the_first_format_is_brought_up_and_its_open_round_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    _first_format(path)
    with Journal(path) as journal:
        (row,) = journal.unfinished()
        assert (row.number, row.state, row.samples, row.version, row.report) == (7, State.TRAINED, 40, None, "")
        journal.advance(row, State.SEALED, attempt=1)
        assert journal.next_seq() == 6
        fresh = _begin(journal)
        journal.advance(fresh, State.TRAINED, report="{}", trained="[1]", epochs="[]")
    with Journal(path) as journal:
        assert [row.number for row in journal.rounds()] == [7, 1]
        assert [row.trained for row in journal.rounds(1)] == ["[1]"]


def test_two_commands_that_bring_a_journal_up_at_once_do_it_once(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    _first_format(path)
    code = "import sys; from pathlib import Path; from client_agent.journal import Journal; Journal(Path(sys.argv[1]))"
    processes = [subprocess.Popen([sys.executable, "-c", code, str(path)], cwd=ROOT) for _ in range(6)]
    assert [process.wait(timeout=120) for process in processes] == [0] * 6
    with Journal(path) as journal:
        assert len(journal.rounds()) == 1


def test_an_upgrade_that_breaks_off_leaves_the_old_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    _first_format(path)
    with closing(sqlite3.connect(path)) as old:
        # The last of the new columns is there already: the upgrade fails at its last step.
        old.execute("ALTER TABLE rounds ADD COLUMN epochs TEXT")
        old.commit()
    with pytest.raises(StorageError):
        Journal(path)
    with closing(sqlite3.connect(path)) as old:
        assert old.execute("PRAGMA user_version").fetchone() == (1,)
        assert "version" not in [column[1] for column in old.execute("PRAGMA table_info(rounds)")]


def test_a_folder_that_is_not_there_cannot_hold_a_journal(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught:
        Journal(tmp_path / "nowhere" / "journal.sqlite3")
    assert caught.value.code == "home_not_writable"
