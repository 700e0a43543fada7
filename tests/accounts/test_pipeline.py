"""What can happen to people and hospitals."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection
from django.utils import timezone

from apps.accounts import pipeline
from apps.accounts.models import FirstAdminLink, Role, User
from apps.accounts.pipeline import AccountError
from apps.audit.api import events_after, transaction, verify

pytestmark = pytest.mark.django_db
ACTOR = "system:test"
PASSWORD = "correct horse battery"


def actions() -> list[str]:
    return [event["action"] for event in events_after(0, 500)]


def refusal(call: Any, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(AccountError) as refused:
        call(*args, **kwargs)
    return refused.value.code


def test_a_hospital_comes_with_its_group_and_an_entry():
    hospital = pipeline.create_hospital("  Klinik Süd  ", actor=ACTOR)
    assert (hospital.name, hospital.slug) == ("Klinik Süd", "klinik-sud")
    assert hospital.members_group.name == f"hospital:{hospital.pk}:members"
    event = events_after(0)[0]
    assert (event["action"], event["object"]) == ("hospital.create", f"hospital:{hospital.pk}")


@pytest.mark.parametrize("name", ["", "   ", "---", "x" * 101])
def test_a_hospital_needs_a_name(name: str):
    assert refusal(pipeline.create_hospital, name, actor=ACTOR) == "name_invalid"


@pytest.mark.parametrize("name", ["North Clinic", "north clinic", "North  Clinic!"])
def test_hospitals_are_told_apart(name: str):
    pipeline.create_hospital("North Clinic", actor=ACTOR)
    assert refusal(pipeline.create_hospital, name, actor=ACTOR) == "name_taken"
    assert actions() == ["hospital.create"]


def test_the_command_prints_the_slug(capsys: pytest.CaptureFixture[str]):
    call_command("create_hospital", "North Clinic")
    assert capsys.readouterr().out == "north-clinic\n"
    with pytest.raises(CommandError, match="already is a hospital"):
        call_command("create_hospital", "North Clinic")


def test_members_see_their_hospital_and_no_other(cast: Any):
    assert cast.north_doctor.has_perm("accounts.view_hospital", cast.north)
    assert not cast.north_doctor.has_perm("accounts.view_hospital", cast.south)
    assert not cast.outsider.has_perm("accounts.view_hospital", cast.north)
    assert cast.admin.has_perm("accounts.view_hospital", cast.south)


def test_a_membership_that_ends_takes_the_permission_with_it(cast: Any):
    pipeline.remove_member(cast.north_doctor, cast.north, actor=ACTOR)
    person = User.objects.get(pk=cast.north_doctor.pk)
    assert not person.has_perm("accounts.view_hospital", cast.north)
    assert actions()[-1] == "member.remove"


def test_joining_twice_is_joining_once(cast: Any):
    before = actions()
    pipeline.add_member(cast.north_doctor, cast.north, actor=ACTOR)
    pipeline.remove_member(cast.outsider, cast.north, actor=ACTOR)
    assert actions() == before


@pytest.mark.parametrize(("role", "staff"), [(Role.ADMIN, True), (Role.DOCTOR, False), (Role.USER, False)])
def test_djangos_flags_follow_the_role(role: Role, staff: bool):
    user = pipeline.create_person("somebody", PASSWORD, role=role, actor=ACTOR)
    assert (user.is_staff, user.is_superuser) == (staff, staff)


def test_the_database_holds_flags_to_the_role():
    user = pipeline.create_person("somebody", PASSWORD, role=Role.USER, actor=ACTOR)
    with pytest.raises(IntegrityError), transaction():
        User.objects.filter(pk=user.pk).update(is_superuser=True)
    with pytest.raises(IntegrityError), transaction():
        User.objects.filter(pk=user.pk).update(role="king")


def test_createsuperuser_makes_an_administrator():
    call_command("createsuperuser", "--username", "root", "--email", "r@example.org", "--no-input", verbosity=0)
    assert User.objects.get().role == Role.ADMIN
    made = events_after(0, 500)[-1]
    assert (made["action"], made["actor"]) == ("person.create", "command:createsuperuser")
    assert (made["object"], made["facts"]) == (f"user:{User.objects.get().pk}", {"role": "admin"})


def test_a_role_changes_with_its_flags_and_an_entry(cast: Any):
    pipeline.change_role(cast.reader, Role.ADMIN, actor=cast.admin.actor)
    assert cast.reader.is_staff
    event = events_after(0, 500)[-1]
    assert (event["action"], event["facts"]) == ("person.role", {"was": "user", "role": "admin"})
    pipeline.change_role(cast.reader, Role.ADMIN, actor=cast.admin.actor)
    assert events_after(0, 500)[-1]["seq"] == event["seq"]


def test_the_last_administrator_stays(cast: Any):
    assert refusal(pipeline.change_role, cast.admin, Role.USER, actor=ACTOR) == "last_admin"
    assert refusal(pipeline.set_active, cast.admin, active=False, actor=ACTOR) == "last_admin"
    pipeline.change_role(cast.reader, Role.ADMIN, actor=ACTOR)
    pipeline.set_active(cast.admin, active=False, actor=ACTOR)
    assert refusal(pipeline.change_role, cast.reader, Role.USER, actor=ACTOR) == "last_admin"


def test_what_is_known_of_a_person_from_before_does_not_count(cast: Any):
    seen_before = User.objects.get(pk=cast.reader.pk)
    pipeline.change_role(cast.reader, Role.ADMIN, actor=ACTOR)
    pipeline.set_active(cast.admin, active=False, actor=ACTOR)
    assert refusal(pipeline.set_active, seen_before, active=False, actor=ACTOR) == "last_admin"


@pytest.mark.django_db(transaction=True)
def test_two_administrators_who_demote_each_other_at_once_leave_one(cast: Any):
    pipeline.change_role(cast.reader, Role.ADMIN, actor=ACTOR)
    pair = [cast.admin, cast.reader]
    together = Barrier(2, timeout=20)

    def demote(person: User) -> str:
        try:
            together.wait()
            pipeline.change_role(person, Role.USER, actor=ACTOR)
        except AccountError as error:
            return error.code
        finally:
            connection.close()
        return "demoted"

    for _ in range(5):
        with ThreadPoolExecutor(2) as pool:
            assert sorted(pool.map(demote, pair)) == ["demoted", "last_admin"]
        left = User.objects.get(role=Role.ADMIN)
        pair = [left, User.objects.get(pk=next(person.pk for person in pair if person.pk != left.pk))]
        pipeline.change_role(pair[1], Role.ADMIN, actor=ACTOR)


def test_a_name_is_taken_once():
    pipeline.create_person("somebody", PASSWORD, role=Role.USER, actor=ACTOR)
    assert refusal(pipeline.create_person, "somebody", PASSWORD, role=Role.USER, actor=ACTOR) == "username_taken"


def test_the_first_administrator_is_made_with_a_link_that_works_once():
    token = pipeline.issue_first_admin_link()
    assert token is not None
    assert len(token) >= 43
    assert not FirstAdminLink.objects.filter(token_hash__contains=token).exists()
    user = pipeline.create_first_admin(token, username="chief", password=PASSWORD)
    assert user.role == Role.ADMIN
    assert refusal(pipeline.create_first_admin, token, username="second", password=PASSWORD) == "link_invalid"
    assert User.objects.count() == 1
    assert pipeline.issue_first_admin_link() is None
    assert actions() == ["first_admin.link", "person.create"]


def test_a_link_ends_after_half_an_hour_and_with_the_next_one():
    old = pipeline.issue_first_admin_link()
    token = pipeline.issue_first_admin_link()
    assert old is not None
    assert token is not None
    assert pipeline.find_first_admin_link(old) is None
    assert pipeline.find_first_admin_link(token) is not None
    FirstAdminLink.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert pipeline.find_first_admin_link(token) is None
    assert refusal(pipeline.create_first_admin, token, username="chief", password=PASSWORD) == "link_invalid"
    assert not User.objects.exists()


def test_all_of_it_is_in_the_audit(cast: Any):
    assert actions() == ["hospital.create"] * 2 + ["member.add"] * 2
    assert verify().ok
