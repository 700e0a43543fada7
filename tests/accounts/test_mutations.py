"""The matrix notices a mistake in the rules: each is made in turn, and some row then says something else."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from matrix import ROWS, Row
from mutants import mutants_of, running
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


class _Watched(dict[str, frozenset[Role]]):
    """The table, which notes what is looked up."""

    def __init__(self, table: Any) -> None:
        super().__init__(table)
        self.asked: set[str] = set()

    def __getitem__(self, what: str) -> frozenset[Role]:
        self.asked.add(what)
        return super().__getitem__(what)


def answered(scenes: Any, calls: list[Call]) -> Iterator[tuple[Row, str, Any]]:
    """Make the calls, each in the scene that its row needs; those that change nothing share one."""
    apart = [(row, caller) for row, caller in calls if row.before is not None or changes(row, caller)]
    with scenes() as scene:
        for row, caller in calls:
            if (row, caller) not in apart:
                yield row, caller, call(scene, row, caller)
    for row, caller in apart:
        with scenes() as scene:
            yield row, caller, call(prepared(row, scene), row, caller)


def calls_of_each_line(scenes: Any) -> dict[str, list[Call]]:
    """For each line of the table, the calls whose answers may depend on it."""
    found: dict[str, list[Call]] = {what: [] for what in roles.MAY}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(roles, "MAY", watched := _Watched(roles.MAY))
        for row, caller, answer in answered(scenes, CALLS):
            assert answer == row.answers[caller], f"without any mistake: {row}, {caller}"
            for what in watched.asked:
                found[what].append((row, caller))
            watched.asked.clear()
    return found


def noticed(scenes: Any, calls: list[Call]) -> bool:
    """Whether one of these calls is answered otherwise than the matrix says, or breaks."""
    try:
        return any(answer != row.answers[caller] for row, caller, answer in answered(scenes, calls))
    except Exception:
        return True


def test_each_mistake_in_the_table_is_noticed(scenes: Any):
    calls = calls_of_each_line(scenes)
    unnoticed = []
    for what, role in product(roles.MAY, Role):
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(roles.MAY, what, roles.MAY[what] ^ {role})
            if not noticed(scenes, [(row, caller) for row, caller in calls[what] if caller in CALLERS_OF[role]]):
                unnoticed.append(f"{what}: {role}")
    assert unnoticed == []


@pytest.mark.parametrize(
    "function",
    [visibility.own_hospitals, visibility.visibilities, membership.participations_of],
)
def test_each_mistake_in_the_rules_about_hospitals_is_noticed(scenes: Any, function: Any):
    unnoticed = []
    for what, code in mutants_of(function):
        with running(function, code):
            if not noticed(scenes, CALLS):
                unnoticed.append(what)
    assert unnoticed == []


def test_each_mistake_in_asking_the_table_is_noticed(scenes: Any, settings: Any):
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
    unnoticed = []
    for what, code in mutants_of(roles.may):
        with running(roles.may, code):
            if lets_nobody_in_by_itself() and not noticed(scenes, CALLS):
                unnoticed.append(what)
    assert [what for what in unnoticed if not what.endswith(same)] == []
