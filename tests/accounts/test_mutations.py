"""The matrix notices a mistake in the rules: each is made in turn, and some row then says something else."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from types import FunctionType
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from matrix import ROWS, Row
from mutants import mutants_of, noting, running
from scene import PEOPLE
from walk import call, changes, prepared

from apps.accounts import roles
from apps.accounts.models import Role, User
from apps.federation import visibility
from apps.federation.pipeline import membership

CALLERS_OF = {
    Role.ADMIN: {"admin"},
    Role.DOCTOR: {"north_doctor", "outsider"},
    Role.USER: {"north_user"},
}
assert set().union(*CALLERS_OF.values()) < set(PEOPLE)
# Django admin's many pages have one door.
OF_ADMIN = {"admin:index", "admin:federation_agent_changelist"}
CALLS = [
    (row, caller)
    for row in ROWS
    if not row.name.startswith("admin:") or row.name in OF_ADMIN
    for caller in ("admin", "north_doctor", "outsider", "north_user")
]
Call = tuple[Row, str]


RULES = (visibility.own_hospitals, visibility.visibilities, membership.participations_of, roles.may)


class _Watched(dict[str, frozenset[Role]]):
    """The table, which notes what is looked up, first what was asked first."""

    def __init__(self, table: Any) -> None:
        super().__init__(table)
        self.asked: list[str] = []

    def __getitem__(self, what: str) -> frozenset[Role]:
        if what not in self.asked:
            self.asked.append(what)
        return super().__getitem__(what)


@dataclass
class Known:
    """Which calls may be answered otherwise after a mistake.

    Attributes:
        lines: for each line of the table the calls that look it up; first those that do so before anything else.
        rules: for each function the calls that run it.
    """

    lines: dict[str, list[Call]]
    rules: dict[FunctionType, list[Call]]


def apart(asked: Call) -> bool:
    """Whether a call needs a scene of its own."""
    row, caller = asked
    return row.before is not None or changes(row, caller)


def answered(scenes: Any, calls: Iterable[Call]) -> Iterator[tuple[Row, str, Any]]:
    """Make the calls, each in the scene that its row needs; those in a row that change nothing share one."""
    for alone, together in groupby(calls, apart):
        if alone:
            for row, caller in together:
                with scenes() as scene:
                    yield row, caller, call(prepared(row, scene), row, caller)
        else:
            with scenes() as scene:
                for row, caller in together:
                    yield row, caller, call(scene, row, caller)


def what_calls_ask(scenes: Any) -> Known:
    """Make all calls, without any mistake, and note what they ask."""
    run: set[FunctionType] = set()
    lines: dict[str, list[tuple[int, Call]]] = {what: [] for what in roles.MAY}
    known = Known({}, {rule: [] for rule in RULES})
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setattr(roles, "MAY", watched := _Watched(roles.MAY))
        for rule in RULES:
            stack.enter_context(noting(rule, run.add))
        for row, caller, answer in answered(scenes, sorted(CALLS, key=apart)):
            assert answer == row.answers[caller], f"without any mistake: {row}, {caller}"
            for place, what in enumerate(watched.asked):
                lines[what].append((place, (row, caller)))
            for rule in run:
                known.rules[rule].append((row, caller))
            watched.asked.clear()
            run.clear()
    known.lines = {what: [made for _, made in sorted(found, key=itemgetter(0))] for what, found in lines.items()}
    return known


_known: list[Known] = []


@pytest.fixture
def known(scenes: Any) -> Known:
    """Asked once a process: it takes all calls."""
    if not _known:
        _known.append(what_calls_ask(scenes))
    return _known[0]


def noticed(scenes: Any, calls: list[Call]) -> Call | None:
    """The first of these calls that is answered otherwise than the matrix says, or breaks."""
    made: list[Call] = []

    def noting() -> Iterator[Call]:
        for each in calls:
            made.append(each)
            yield each

    try:
        for row, caller, answer in answered(scenes, noting()):
            if answer != row.answers[caller]:
                return row, caller
    except Exception:
        return made[-1]
    return None


@pytest.mark.parametrize("role", Role)
def test_each_mistake_in_the_table_is_noticed(scenes: Any, known: Known, role: Role):
    unnoticed = []
    for what in roles.MAY:
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(roles.MAY, what, roles.MAY[what] ^ {role})
            if not noticed(scenes, [made for made in known.lines[what] if made[1] in CALLERS_OF[role]]):
                unnoticed.append(f"{what}: {role}")
    assert unnoticed == []


def unnoticed_in(scenes: Any, known: Known, rule: Any, *, but: str = "", by: Callable[[], bool] = lambda: False):
    """The mistakes in a rule that neither `by` nor any call notices; not made is the one that ends with `but`."""
    found = []
    others = [made for made in CALLS if made not in known.rules[rule]]
    # What has noticed one mistake is asked first about the next; then what runs the rule; then, in vain, all the rest.
    calls = [*known.rules[rule], *sorted(others, key=apart)]
    for what, code in mutants_of(rule):
        if but and what.endswith(but):
            continue
        with running(rule, code):
            if by():
                continue
            by_call = noticed(scenes, calls)
        if by_call is None:
            found.append(what)
        else:
            calls.remove(by_call)
            calls.insert(0, by_call)
    return found


@pytest.mark.parametrize("rule", RULES[:3])
def test_each_mistake_in_the_rules_about_hospitals_is_noticed(scenes: Any, known: Known, rule: Any):
    assert unnoticed_in(scenes, known, rule) == []


def test_each_mistake_in_asking_the_table_is_noticed(scenes: Any, known: Known, settings: Any):
    def lets_nobody_in_by_itself() -> bool:
        """Requests have no such people: Django knows nobody who is deactivated. The table has to, all the same."""
        gone = User(username="gone", role=Role.ADMIN, is_active=False, has_second_factor=True)
        settings.REQUIRE_ADMIN_OTP = True
        without, with_factor = (User(role=Role.ADMIN, has_second_factor=has) for has in (False, True))
        try:
            out = [roles.may(person, "open_admin") for person in (gone, AnonymousUser(), without)]
            return not any(out) and roles.may(with_factor, "open_admin")
        except AttributeError:
            return False
        finally:
            settings.REQUIRE_ADMIN_OTP = False

    # It narrows the type; whoever is no User is not active either.
    same = "the part isinstance(user, User) is gone"
    assert unnoticed_in(scenes, known, roles.may, but=same, by=lambda: not lets_nobody_in_by_itself()) == []
