"""Every address and every method, for each of the cast: who gets what."""

from collections import defaultdict
from typing import Any

import pytest
from matrix import LOGIN, ROWS, Row
from scene import CALLERS, PEOPLE, Scene
from walk import METHODS, NAMELESS, addresses, call, changes, content, prepared

from apps.federation.calls import DOING

# One of each kind is enough where nobody gets anything.
KINDS = ("anonymous", "admin", "north_doctor", "north_user", "north_agent")
DOORS = (LOGIN, "/admin/login/?next=")
REFUSALS = {401, 403, 404, *DOORS}

# Whoever takes the model along is in the audit.
RECORDED = {"model", "v1-model", "federation-model"}


def test_every_address_has_a_row_and_every_row_an_address():
    named = {name for name in addresses() if "nameless" not in name}
    assert named - {row.name for row in ROWS} == set(), "these addresses need their rows in matrix.py"
    assert {row.name for row in ROWS} - named == set(), "these rows have no address any more"
    assert {name.split(" ", 1)[1] for name in addresses() if "nameless" in name} == NAMELESS


def test_no_row_stands_twice():
    assert len({str(row) for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_each_gets_what_the_matrix_says(scenes: Any, row: Row):
    answers = {}
    with scenes() as scene:
        before = content()
        prepared(row, scene)
        for caller in CALLERS:
            if not changes(row, caller):
                answers[caller] = call(scene, row, caller)
        # Neither looking nor being refused changes anything.
        assert row.before is not None or row.name in RECORDED or content() == before
    for caller in CALLERS:
        if changes(row, caller):
            with scenes() as scene:
                answers[caller] = call(prepared(row, scene), row, caller)
    assert answers == row.answers


@pytest.mark.parametrize("row", [row for row in ROWS if row.method != "GET"], ids=str)
def test_what_a_browser_is_tricked_into_sending_is_refused(scene: Scene, row: Row):
    """Whatever a signed-in person's browser sends without the form's token changes nothing."""
    prepared(row, scene)
    before = content()
    answers = {caller: call(scene, row, caller, enforce_csrf_checks=True) for caller in PEOPLE}
    assert set(answers.values()) <= REFUSALS, answers
    assert content() == before


def unlisted() -> list[Any]:
    """Each address with the methods that no row of it names."""
    listed: dict[str, set[str]] = defaultdict(set)
    for row in ROWS:
        listed[row.name].add(row.method)
    first = {row.name: row for row in reversed(ROWS)}
    return [pytest.param(row, sorted(set(METHODS) - listed[name]), id=name) for name, row in first.items()]


@pytest.mark.parametrize(("row", "methods"), unlisted())
def test_a_method_that_no_row_names_is_refused(scene: Scene, row: Row, methods: list[str]):
    before = content()
    for method in methods:
        answers = {caller: call(scene, row, caller, method) for caller in KINDS}
        # The login page sends on who is signed in, whatever they ask.
        sent_on = {302} if row.name == "accounts:login" else set()
        assert set(answers.values()) <= REFUSALS | {405} | sent_on, (method, answers)
    assert content() == before


def test_refused_calls_are_told_by_names_that_addresses_have():
    assert set(DOING) - {name.rpartition(":")[2] for name in addresses()} == set()
    refused = {row.name for row in ROWS if {401, 403} & set(row.answers.values())}
    named = {name.rpartition(":")[2] for name in refused if not name.startswith("admin:")}
    assert named - set(DOING) == set(), "these addresses need words in apps/federation/calls.py"
