"""The list of guards (tools/guards.py) is about the tree as it is; `make guards` takes each out and runs its test."""

from pathlib import Path

import pytest

from tools.guards import GUARDS, ROOT, Guard

LIST = (ROOT / "docs" / "reliability.md").read_text()


def test_there_are_twenty_five_and_no_two_alike():
    assert len(GUARDS) == len({guard.line + guard.file for guard in GUARDS}) == 25


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.what)
def test_a_guard_stands_once_where_it_is_said_to(guard: Guard):
    assert (ROOT / guard.file).read_text().count(guard.line) == 1
    path, _, name = guard.test.partition("::")
    assert f"def {name}(" in (ROOT / path).read_text()
    row = f"| {guard.what} | `{guard.file}` | `{Path(path).name}` |"
    assert row in LIST
