"""The second factor: set up, asked for, used once, replaced by recovery codes, reset; and who must have one."""

import html
import re
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
import time_machine
from authenticator import STEP, code_of
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client

from apps.accounts import pipeline
from apps.accounts.models import RecoveryCode, Role, SecondFactor, User
from apps.accounts.pipeline import AccountError, authenticate, second_factor
from apps.audit.api import events_after, flush_denials

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery"
HERE = "192.0.2.1"
LOGIN, CODE, OWN = "/accounts/login/", "/accounts/code/", "/account/second-factor/"
# The middle of a step: neither the clock nor a slow machine makes another code of it.
NOW = 1_790_000_000 // STEP * STEP + STEP / 2


def text(answer: Any) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", answer.content.decode())).split())


def actions() -> list[str]:
    return [event["action"] for event in events_after(0, 500)]


def enrolled(user: User) -> tuple[str, list[str]]:
    """Set up the person's second factor. Returns secret and recovery codes."""
    sealed = second_factor.new_secret(user)
    secret, _ = second_factor.shown(sealed, user)
    # The step before: the present code is unused then.
    return secret, second_factor.enrol(user, sealed, code_of(secret, -1))


def first_step(name: str = "reader") -> Client:
    client = Client(headers={"Accept": "text/html"})
    answer = client.post(LOGIN, {"username": name, "password": PASSWORD, "next": "/account/"})
    assert (answer.status_code, answer.headers["Location"]) == (302, f"{CODE}?next=%2Faccount%2F")
    return client


def second_step(client: Client, code: str) -> Any:
    return client.post(f"{CODE}?next=/account/", {"otp": code})


@pytest.fixture
def clock() -> Any:
    with time_machine.travel(NOW, tick=False) as travelling:
        yield travelling


def test_it_is_set_up_on_the_page_and_asked_for_from_then_on(cast: Any, clock: Any):
    client = Client(headers={"Accept": "text/html"})
    client.post(LOGIN, {"username": "reader", "password": PASSWORD})
    page = client.get(OWN).content.decode()
    secret = re.search(r'<code id="secret">([A-Z2-7 ]{39})</code>', page)
    assert secret
    assert 'src="data:image/svg+xml' in page
    assert "is not the code" in text(client.post(OWN, {"code": "123456"}))
    # The secret is the same after a mistake, and the phone's own way of writing codes is heard.
    assert secret[1] in client.get(OWN).content.decode()
    code = code_of(secret[1])
    shown = client.post(OWN, {"code": f" {code[:3]} {code[3:]} "})
    codes = re.search(r'<pre id="codes"[^>]*>([^<]+)</pre>', shown.content.decode())
    assert codes
    assert len(set(codes[1].split("\n"))) == 10
    assert client.get(OWN).content.decode().count(secret[1]) == 0
    assert actions()[-1] == "second_factor.enrol"
    clock.shift(STEP)
    client = first_step()
    # Nobody is in with the password alone.
    assert client.get("/account/").status_code == 302
    answer = second_step(client, code_of(secret[1]))
    assert (answer.status_code, answer.headers["Location"]) == (302, "/account/")
    assert client.get("/account/").status_code == 200


def test_a_code_is_used_once_and_no_older_one_after_it(cast: Any, clock: Any):
    secret, _ = enrolled(cast.reader)
    now, before = code_of(secret), code_of(secret, -1)
    assert second_step(first_step(), now).status_code == 302
    for used in (now, before):
        assert "used already" in text(second_step(first_step(), used))
    assert second_step(first_step(), code_of(secret, 1)).status_code == 302


@pytest.mark.parametrize(("later", "taken"), [(-2, False), (0, True), (1, True), (2, False)])
def test_a_phone_may_be_one_step_off(cast: Any, clock: Any, later: int, taken: bool):
    secret, _ = enrolled(cast.reader)
    assert second_factor.check_code(cast.reader, code_of(secret, later)) == taken


def test_a_recovery_code_stands_in_once(cast: Any, clock: Any):
    _, codes = enrolled(cast.reader)
    assert second_step(first_step(), codes[3].upper().replace("-", " ")).status_code == 302
    assert "wrong" in text(second_step(first_step(), codes[3]))
    used = [event for event in events_after(0, 500) if event["action"] == "second_factor.recovery"]
    assert [event["facts"] for event in used] == [{"left": 9}]
    client = first_step()
    second_step(client, codes[4])
    assert "8 recovery codes are left" in text(client.get(OWN))
    fresh = client.post(f"{OWN}codes").content.decode()
    assert codes[5] not in fresh
    assert "wrong" in text(second_step(first_step(), codes[5]))


def test_a_recovery_code_is_its_persons_own(cast: Any, clock: Any):
    _, codes = enrolled(cast.reader)
    enrolled(cast.outsider)
    assert not second_factor.check_code(cast.outsider, codes[0])


@pytest.mark.parametrize("typed", ["", "12345", "1234567", "abcdef", "١٢٣٤٥٦", "\ud800", "x" * 41, "-" * 6])
def test_what_is_no_code_is_none(cast: Any, clock: Any, typed: str):
    enrolled(cast.reader)
    answer = second_step(first_step(), typed.encode(errors="replace").decode())
    assert answer.status_code == 200
    assert 'role="alert"' in answer.content.decode()


def test_the_second_step_is_only_for_who_has_done_the_first_lately(cast: Any, clock: Any):
    secret, _ = enrolled(cast.reader)
    assert second_step(Client(), code_of(secret)).headers["Location"] == LOGIN
    client = first_step()
    clock.shift(301)
    assert second_step(client, code_of(secret)).headers["Location"] == LOGIN
    client = first_step()
    pipeline.change_password(cast.reader, PASSWORD, "staple battery horse", address="")
    assert second_step(client, code_of(secret)).headers["Location"] == LOGIN
    client.get(LOGIN)
    assert client.get("/account/").status_code == 302


def test_wrong_codes_lock_as_wrong_passwords_do_however_they_alternate(cast: Any, clock: Any):
    secret, _ = enrolled(cast.reader)
    for _ in range(10):
        # The right password in between gives nothing back but its own attempt.
        assert second_step(first_step(), "000000").status_code == 200
    client = Client()
    answer = client.post(LOGIN, {"username": "reader", "password": PASSWORD})
    assert (answer.status_code, "Too many wrong passwords or codes." in text(answer)) == (429, True)
    with pytest.raises(pipeline.Locked):
        authenticate("reader", PASSWORD, otp=code_of(secret), address="127.0.0.1")
    flush_denials()
    refused = [event for event in events_after(0, 500) if event["action"] == "login.refused"]
    codes = [e["facts"] for e in refused if e["facts"]["code"] == "otp_invalid"]
    assert refused[0]["object"] == f"user:{cast.reader.pk}"
    assert [facts.get("calls", 1) for facts in codes] == [1, 9]
    assert "login.lock" in actions()


def test_the_codes_page_locks_too(cast: Any, clock: Any):
    secret, _ = enrolled(cast.reader)
    client = first_step()
    for _ in range(10):
        assert second_step(client, "000000").status_code == 200
    answer = second_step(client, code_of(secret))
    assert (answer.status_code, "Too many" in text(answer)) == (429, True)


def test_codes_are_bounded_from_all_addresses_together(cast: Any, clock: Any):
    secret, _ = enrolled(cast.reader)
    tried = 0
    for number in range(50):
        try:
            authenticate("reader", PASSWORD, otp="000000", address=f"192.0.2.{number}")
        except pipeline.Locked:
            continue
        except AccountError:
            tried += 1
    assert tried == 30
    with pytest.raises(pipeline.Locked):
        authenticate("reader", PASSWORD, otp=code_of(secret), address="198.51.100.1")
    # Others' codes and sign-ins without one are untouched.
    assert authenticate("outsider", PASSWORD, address="198.51.100.1") == cast.outsider


def test_a_right_code_starts_anew(cast: Any, clock: Any):
    secret, _ = enrolled(cast.reader)
    for _ in range(9):
        with pytest.raises(AccountError, match="wrong"):
            authenticate("reader", PASSWORD, otp="000000", address=HERE)
    assert authenticate("reader", PASSWORD, otp=code_of(secret), address=HERE) == cast.reader
    for _ in range(9):
        with pytest.raises(AccountError, match="wrong"):
            authenticate("reader", PASSWORD, otp="000000", address=HERE)


def test_nothing_stored_is_a_secret_without_the_key(cast: Any, clock: Any, settings: Any):
    secret, codes = enrolled(cast.reader)
    kept = str([list(model.objects.values()) for model in (SecondFactor, RecoveryCode)]) + str(events_after(0, 500))
    assert secret.replace(" ", "") not in kept
    assert not any(code.replace("-", "") in kept for code in codes)
    moved = SecondFactor.objects.get(user=cast.reader).sealed_secret
    with pytest.raises(AccountError, match="cannot be read"):
        # Another person's row does not open with it.
        second_factor.shown(moved, cast.outsider)
    settings.OTP_KEY = "another"
    with pytest.raises(AccountError, match="cannot be read"):
        authenticate("reader", PASSWORD, otp=code_of(secret), address=HERE)


def test_it_is_turned_off_and_set_up_again(cast: Any, clock: Any):
    secret, _ = enrolled(cast.reader)
    client = first_step()
    second_step(client, code_of(secret))
    with pytest.raises(AccountError, match="already"):
        second_factor.enrol(cast.reader, sealed := second_factor.new_secret(cast.reader), code_of(_typed(sealed, cast)))
    assert "turned off" in text(client.post(f"{OWN}off", follow=True))
    assert not SecondFactor.objects.exists()
    assert not RecoveryCode.objects.exists()
    assert "no second factor" in text(client.post(f"{OWN}codes", follow=True))
    assert authenticate("reader", PASSWORD, address=HERE) == cast.reader
    enrolled(User.objects.get(pk=cast.reader.pk))


def _typed(sealed: str, cast: Any) -> str:
    return second_factor.shown(sealed, cast.reader)[0]


def test_an_administrator_resets_it_and_the_person_is_signed_out(cast: Any, clock: Any):
    secret, _ = enrolled(cast.reader)
    theirs = first_step()
    second_step(theirs, code_of(secret))
    admin = Client(headers={"Accept": "text/html"})
    admin.force_login(cast.admin)
    page = f"/people/{cast.reader.pk}/"
    assert "set up" in text(admin.get(page))
    assert "with the password alone" in text(admin.post(f"{page}reset-second-factor", follow=True))
    (event,) = [event for event in events_after(0, 500) if event["action"] == "second_factor.reset"]
    assert (event["actor"], event["object"]) == (cast.admin.actor, f"user:{cast.reader.pk}")
    assert "second factor was reset" in text(theirs.get("/account/", follow=True))
    assert "has no second factor" in text(admin.post(f"{page}reset-second-factor", follow=True))


def test_the_command_resets_it(cast: Any, clock: Any, capsys: pytest.CaptureFixture[str]):
    enrolled(cast.admin)
    call_command("reset_second_factor", "admin")
    assert "password alone" in capsys.readouterr().out
    for name, says in (("admin", "has no second factor"), ("nobody", "There is nobody called nobody.")):
        with pytest.raises(CommandError, match=says):
            call_command("reset_second_factor", name)


# --- Administrators who must have one --------------------------------------------------------------------------------
PATHS = ["/", "/rounds/", "/people/", "/admin/", "/admin/accounts/user/", "/account/", "/audit/"]
NEED_A_FEDERATION = {"/", "/rounds/"}


def test_an_administrator_without_one_reaches_only_the_page_that_sets_it_up(cast: Any, clock: Any, settings: Any):
    settings.REQUIRE_ADMIN_OTP = True
    client = Client(headers={"Accept": "text/html"})
    client.post(LOGIN, {"username": "admin", "password": PASSWORD})
    for path in PATHS:
        answer = client.get(path)
        assert (path, answer.status_code, answer.headers.get("Location")) == (path, 302, OWN)
    assert client.post("/people/add", {"username": "x", "role": "admin"}).headers["Location"] == OWN
    refused = client.get("/api/v1/events", headers={"Accept": "*/*"})
    assert (refused.status_code, refused.json()["code"]) == (403, "second_factor_needed")
    page = client.get(OWN)
    assert "Administrators of this hub need one." in text(page)
    secret = re.search(r'<code id="secret">([^<]+)</code>', page.content.decode())
    assert secret
    client.post(OWN, {"code": code_of(secret[1])})
    assert {client.get(path).status_code for path in PATHS if path not in NEED_A_FEDERATION} == {200}
    assert "Administrators of this hub need a second factor." in text(client.post(f"{OWN}off", follow=True))
    assert SecondFactor.objects.filter(user=cast.admin).exists()


def test_others_need_none_and_who_becomes_an_administrator_does(cast: Any, settings: Any):
    settings.REQUIRE_ADMIN_OTP = True
    client = Client(headers={"Accept": "text/html"})
    client.force_login(cast.north_doctor)
    assert client.get("/account/").status_code == 200
    pipeline.change_role(cast.north_doctor, Role.ADMIN, actor="system:test")
    client.force_login(User.objects.get(pk=cast.north_doctor.pk))
    assert client.get("/account/").headers["Location"] == OWN
    assert client.post("/accounts/logout/").headers["Location"] == LOGIN


# --- Races ------------------------------------------------------------------------------------------------------------


def together(count: int, act: Any) -> list[Any]:
    """What `count` threads get that all do it at the same moment."""
    barrier = Barrier(count, timeout=60)

    def one(number: int) -> Any:
        try:
            barrier.wait()
            return act(number)
        except AccountError as error:
            return error.code
        finally:
            connection.close()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


@pytest.fixture
def person() -> User:
    return User.objects.create_user("somebody", password=PASSWORD)


@pytest.mark.django_db(transaction=True)
def test_a_code_that_fifty_send_at_once_lets_one_in(person: User, clock: Any, settings: Any):
    settings.LOGIN_ATTEMPTS = settings.LOGIN_ATTEMPTS_OF_ADDRESS = 1000
    secret, codes = enrolled(person)
    for code in (code_of(secret), codes[0]):
        assert together(50, lambda _, code=code: second_factor.check_code(person, code)).count(True) == 1


@pytest.mark.django_db(transaction=True)
def test_of_two_who_both_found_the_code_right_before_either_used_it_one_is_let_in(
    person: User, clock: Any, monkeypatch: pytest.MonkeyPatch
):
    secret, _ = enrolled(person)
    both, found = Barrier(2, timeout=60), second_factor._step_of

    def wait_for_the_other(*args: Any, **named: Any) -> int | None:
        step = found(*args, **named)
        both.wait()
        return step

    monkeypatch.setattr(second_factor, "_step_of", wait_for_the_other)
    code = code_of(secret)
    assert sorted(together(2, lambda _: second_factor.check_code(person, code))) == [False, True]


@pytest.mark.django_db(transaction=True)
def test_of_two_hundred_wrong_codes_at_once_ten_are_looked_at(person: User, clock: Any):
    enrolled(person)
    found = [
        code
        for _ in range(8)
        for code in together(25, lambda n: authenticate("somebody", PASSWORD, otp=f"{n:06}", address=HERE))
    ]
    assert (found.count("otp_invalid"), found.count("login_locked")) == (10, 190)


@pytest.mark.django_db(transaction=True)
def test_of_ten_who_set_it_up_at_once_one_does(person: User, clock: Any):
    sealed = [second_factor.new_secret(person) for _ in range(10)]
    codes = [code_of(second_factor.shown(one, person)[0]) for one in sealed]
    got = together(10, lambda n: second_factor.enrol(person, sealed[n], codes[n]))
    assert [isinstance(one, list) for one in got].count(True) == 1
    assert got.count("factor_exists") == 9
    assert RecoveryCode.objects.count() == 10
