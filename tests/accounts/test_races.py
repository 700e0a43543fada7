"""Fifty at once: one session is left, one role change counts, one administrator stays."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

import pytest
from django.db import connection
from django.test import Client

from apps.accounts import pipeline
from apps.accounts.models import Role, User
from apps.accounts.pipeline import AccountError
from apps.audit.api import events_after, verify

MANY = 50
PASSWORD = "correct horse battery"
LOGIN = "/accounts/login/"
T = TypeVar("T")
pytestmark = pytest.mark.django_db(transaction=True)


def at_once(call: Callable[[int], T]) -> list[T]:
    """Fifty threads that wait for each other; what each call gave."""
    together = Barrier(MANY, timeout=120)

    def one(number: int) -> T:
        try:
            together.wait()
            return call(number)
        finally:
            connection.close()

    with ThreadPoolExecutor(MANY) as pool:
        return list(pool.map(one, range(MANY)))


def role_change(person: User, role: Role, actor: User) -> str:
    try:
        pipeline.change_role(person, role, actor=actor.actor)
    except AccountError as error:
        return error.code
    return "done"


def entries(action: str) -> int:
    return [event["action"] for event in events_after(0, 500)].count(action)


def test_of_fifty_sign_ins_of_one_person_one_session_is_left():
    User.objects.create_user("somebody", password=PASSWORD)

    def sign_in(_: int) -> Client:
        client = Client(headers={"Accept": "text/html"})
        client.post(LOGIN, {"username": "somebody", "password": PASSWORD})
        return client

    clients = at_once(sign_in)
    assert [client.get("/account/").status_code for client in clients].count(200) == 1
    assert verify().ok


def test_of_fifty_changes_of_one_role_one_counts():
    admin = User.objects.create_superuser("admin", password=PASSWORD)
    user = User.objects.create_user("somebody", role=Role.USER)
    seen = [User.objects.get(pk=user.pk) for _ in range(MANY)]
    answers = at_once(lambda number: role_change(seen[number], Role.DOCTOR, admin))
    assert sorted(answers) == ["done", *["role_changed"] * (MANY - 1)]
    assert User.objects.get(pk=user.pk).role == Role.DOCTOR
    assert entries("person.role") == 1


def test_of_fifty_administrators_who_demote_each_other_one_stays():
    people = [User.objects.create_superuser(f"admin{number}", password=PASSWORD) for number in range(MANY)]
    answers = at_once(lambda number: role_change(people[number - 1], Role.USER, people[number]))
    assert sorted(answers) == ["done"] * (MANY - 1) + ["last_admin"]
    assert User.objects.filter(role=Role.ADMIN, is_active=True).count() == 1
    assert entries("person.role") == MANY - 1
