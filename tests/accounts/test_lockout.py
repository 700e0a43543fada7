"""Too many wrong passwords: who is kept out, from where, for how long."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from apps.accounts.models import LoginAttempts
from apps.accounts.pipeline import Locked, authenticate, lockout
from apps.accounts.pipeline import sign_in as pipeline_sign_in
from apps.audit.api import events_after, flush_denials

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery"
HERE, ELSEWHERE = "192.0.2.1", "192.0.2.2"


def sign_in(name: str = "north_doctor", password: str = "wrong", address: str = HERE, **headers: str) -> Any:
    return Client().post(
        "/accounts/login/", {"username": name, "password": password}, REMOTE_ADDR=address, headers=headers
    )


def lock(name: str = "north_doctor", address: str = HERE) -> None:
    assert {sign_in(name, address=address).status_code for _ in range(10)} == {200}


def test_after_ten_wrong_passwords_the_right_one_is_not_looked_at(cast: Any, monkeypatch: pytest.MonkeyPatch):
    lock()
    monkeypatch.setattr(pipeline_sign_in, "check", None)
    answer = sign_in(password=PASSWORD)
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 15 * 60
    assert b"Try again in 15 minutes, or ask an administrator" in answer.content
    assert "sessionid" not in answer.cookies


def test_the_victim_signs_in_from_elsewhere_and_others_from_the_same_address(cast: Any):
    lock()
    assert sign_in(password=PASSWORD, address=ELSEWHERE).status_code == 302
    assert sign_in("south_doctor", PASSWORD).status_code == 302
    assert sign_in(password=PASSWORD).status_code == 429


def test_what_the_caller_says_of_its_address_does_not_help(cast: Any):
    lock()
    for number in range(5):
        told = {"X-Forwarded-For": f"198.51.100.{number}", "X-Real-IP": f"198.51.100.{number}"}
        assert sign_in(**told).status_code == 429


def test_another_address_of_the_same_ipv6_network_does_not_help(cast: Any):
    lock(address="2001:db8::1")
    assert sign_in(address="2001:db8::ffff:2").status_code == 429
    assert sign_in(address="2001:db8:0:1::1").status_code == 200
    lock("south_doctor", address="::ffff:192.0.2.9")
    assert sign_in("south_doctor", address="192.0.2.9").status_code == 429
    assert sign_in("south_doctor", address="::ffff:192.0.2.10").status_code == 200


def test_when_the_window_is_over_it_starts_anew(cast: Any):
    lock()
    LoginAttempts.objects.update(until=timezone.now() - timedelta(seconds=1))
    lock()
    assert sign_in(password=PASSWORD).status_code == 429


def test_a_success_starts_the_name_anew_and_gives_the_address_only_its_own_attempt_back(cast: Any, settings: Any):
    settings.LOGIN_ATTEMPTS_OF_ADDRESS = 30
    for _ in range(3):
        assert {sign_in().status_code for _ in range(9)} == {200}
        assert sign_in(password=PASSWORD).status_code == 302
    assert {sign_in(f"name{number}").status_code for number in range(3)} == {200}
    assert sign_in("south_doctor", PASSWORD).status_code == 429
    assert sign_in("south_doctor", PASSWORD, ELSEWHERE).status_code == 302


def test_many_names_from_one_address_are_stopped_too(cast: Any):
    answers = [sign_in(f"name{number}").status_code for number in range(103)]
    assert (answers.count(200), answers[-3:]) == (100, [429] * 3)
    # What is refused leaves no rows behind: nobody fills the table.
    assert LoginAttempts.objects.count() == 101


def test_names_are_not_kept(cast: Any):
    sign_in("my-secret-password")
    assert not LoginAttempts.objects.filter(key__icontains="secret").exists()
    keys = set(LoginAttempts.objects.values_list("key", flat=True))
    assert {len(key) for key in keys} == {64}


def test_refusals_are_counted_and_the_lock_is_in_the_audit_with_its_person(cast: Any):
    lock()
    lock("nobody")
    for _ in range(3):
        sign_in()
    flush_denials()
    events = events_after(0, 500)
    locks = [event for event in events if event["action"] == "login.lock"]
    assert [event["object"] for event in locks] == [f"user:{cast.north_doctor.pk}", ""]
    assert {event["visibility"] for event in locks} == {"admin"}
    calls = {e["facts"]["code"]: e["facts"]["calls"] for e in events if e["action"] == "login.refused"}
    assert calls == {"login_invalid": 20, "login_locked": 3}


def test_old_counts_are_forgotten(cast: Any):
    sign_in()
    assert lockout.forget_old_attempts() == 0
    LoginAttempts.objects.update(until=timezone.now() - timedelta(seconds=1))
    assert lockout.forget_old_attempts() == 2
    assert not LoginAttempts.objects.exists()


@pytest.mark.parametrize("name", ["\ud800", "x" * 10_000, "\0"])
def test_any_name_can_be_counted(name: str):
    assert lockout.take(name, "").is_last is False


def test_nobody_is_locked_out_by_a_password_that_is_right(cast: Any):
    for _ in range(12):
        assert authenticate("north_doctor", PASSWORD, address=HERE) == cast.north_doctor


@pytest.mark.django_db(transaction=True)
def test_of_a_hundred_attempts_at_once_no_more_than_ten_are_let_through():
    barrier = Barrier(25)

    def attempt(number: int) -> bool:
        if number < 25:
            barrier.wait()
        try:
            lockout.take("north_doctor", HERE)
        except Locked:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(25) as pool:
        assert sum(pool.map(attempt, range(100))) == 10
