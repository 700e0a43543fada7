"""One browser session a person, and how long it lasts."""

import html
import re
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
import time_machine
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.db import connection
from django.test import Client

from apps.accounts import pipeline
from apps.accounts.models import ApiToken, LoginAttempts, Role, User
from apps.accounts.pipeline import AccountError, sessions, tokens
from apps.audit.api import events_after

pytestmark = pytest.mark.django_db
PASSWORD, FRESH = "correct horse battery", "staple battery horse"
ACTOR = "system:test"
LOGIN = "/accounts/login/"
NOW = 1_790_000_000.0
MINUTE, HOUR = 60, 3600
# A page's script asks for everything.
BACKGROUND = {"X-Background": "1", "Accept": "*/*"}


def browser(name: str = "reader", password: str = PASSWORD) -> Client:
    """A browser in which somebody has signed in."""
    client = Client(headers={"Accept": "text/html"})
    assert client.post(LOGIN, {"username": name, "password": password}).status_code == 302
    return client


def is_in(client: Client) -> bool:
    return client.get("/account/").status_code == 200


def told(client: Client) -> str:
    """What the sign-in page says after the way there from a page."""
    answer = client.get("/account/?x=1", follow=True)
    assert answer.redirect_chain == [(f"{LOGIN}?next=/account/%3Fx%3D1", 302)]
    found = re.search(r'id="ended"[^>]*>([^<]*)<', answer.content.decode())
    return html.unescape(found[1]) if found else ""


def test_signing_in_elsewhere_ends_the_session_before_and_says_so(cast: Any):
    first, other = browser(), browser("north_doctor")
    second = browser()
    assert told(first).startswith("You signed in elsewhere.")
    assert (is_in(second), is_in(other)) == (True, True)
    # Whoever then signs in there is told nothing any more, nor are strangers.
    first.post(LOGIN, {"username": "reader", "password": PASSWORD})
    assert is_in(first)
    assert "session-end" not in {name for name, cookie in first.cookies.items() if cookie.value}
    assert "elsewhere" in told(second)
    assert told(Client()) == ""


def test_the_reason_reaches_the_page_though_the_page_had_asked_by_itself_before(cast: Any):
    first = browser()
    browser()
    assert first.get("/api/v1/events", headers=BACKGROUND).status_code in {401, 403}
    assert "elsewhere" in told(first)


@pytest.mark.parametrize(
    ("end", "says"),
    [
        (lambda user: pipeline.change_role(user, Role.DOCTOR, actor=ACTOR), "Your role was changed."),
        (lambda user: pipeline.end_sessions(user, actor=ACTOR), "An administrator signed you out."),
        (lambda user: pipeline.set_active(user, active=False, actor=ACTOR), "Your account is deactivated."),
        (lambda user: pipeline.change_password(user, PASSWORD, FRESH, address=""), "Your password was changed."),
        (
            lambda user: pipeline.use_password_link(pipeline.issue_password_link(user, actor=ACTOR), FRESH),
            "Your password was changed.",
        ),
        (lambda user: Session.objects.all().delete(), "Your session is over."),
    ],
)
def test_whatever_ends_a_session_is_said(cast: Any, end: Any, says: str):
    client = browser()
    end(User.objects.get(pk=cast.reader.pk))
    assert told(client).startswith(says)


def test_the_command_that_sets_a_password_ends_the_session_too(cast: Any, monkeypatch: pytest.MonkeyPatch):
    client = browser()
    monkeypatch.setattr("getpass.getpass", lambda **_: FRESH)
    call_command("changepassword", "reader", verbosity=0)
    assert told(client).startswith("Your password was changed.")


def test_a_session_ends_when_nothing_was_done_for_a_quarter_of_an_hour(cast: Any):
    with time_machine.travel(NOW, tick=False) as clock:
        client = browser()
        for _ in range(3):
            clock.shift(15 * MINUTE - 1)
            assert is_in(client)
        clock.shift(15 * MINUTE)
        assert told(client) == "You were signed out because nothing was done for a while."


def test_what_a_page_asks_by_itself_keeps_nobody_signed_in(cast: Any):
    with time_machine.travel(NOW, tick=False) as clock:
        client = browser("admin")
        asked: list[tuple[str, dict[str, str]]] = [
            ("/api/v1/events", BACKGROUND),
            ("/account/session", BACKGROUND),
            ("/people/", {"X-Fragment": "live"}),
        ]
        for _ in range(14):
            clock.shift(MINUTE)
            assert [client.get(path, headers=headers).status_code for path, headers in asked] == [200] * 3
        left = client.get("/account/session", headers=BACKGROUND).json()
        assert left == {"seconds": MINUTE, "last": True}
        clock.shift(MINUTE)
        assert [client.get(path, headers=headers).status_code == 200 for path, headers in asked] == [False] * 3


def test_a_session_ends_after_twelve_hours_whatever_is_done(cast: Any):
    with time_machine.travel(NOW, tick=False) as clock:
        client = browser()
        for _ in range(6 * 12 - 1):
            clock.shift(10 * MINUTE)
            assert is_in(client)
        assert client.post("/account/session").json() == {"seconds": 10 * MINUTE, "last": False}
        clock.shift(10 * MINUTE)
        assert told(client).startswith("You were signed out because the session had reached its longest time.")


def test_staying_makes_a_session_last(cast: Any):
    with time_machine.travel(NOW, tick=False) as clock:
        client = browser()
        clock.shift(14 * MINUTE)
        assert client.post("/account/session").json() == {"seconds": 15 * MINUTE, "last": True}
        clock.shift(14 * MINUTE)
        assert is_in(client)
    assert Client().post("/account/session").status_code == 401


@pytest.mark.skipif(connection.vendor != "sqlite", reason="how this database is made to refuse writes")
def test_a_page_is_shown_though_the_step_cannot_be_noted(cast: Any, caplog: pytest.LogCaptureFixture):
    with time_machine.travel(NOW, tick=False) as clock:
        client = browser()
        clock.shift(MINUTE)
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA query_only=ON")
            try:
                assert is_in(client)
            finally:
                cursor.execute("PRAGMA query_only=OFF")
        assert "could not be noted" in caplog.text
        clock.shift(14 * MINUTE - 1)
        assert is_in(client)


def test_a_form_that_was_sent_too_late_leads_back_to_its_page(cast: Any):
    client = Client(headers={"Accept": "text/html"})
    for referer, back in {
        "http://testserver/people/?x=1": "/people/%3Fx%3D1",
        "https://evil.example/people/": "/",
        "//evil.example": "/",
        "": "/",
    }.items():
        answer = client.post("/people/add", headers={"Referer": referer})
        assert answer.headers["Location"] == f"{LOGIN}?next={back}", referer


def test_the_cookie_is_the_browsers_own_and_ends_with_it(cast: Any):
    cookie = browser().cookies["session"]
    assert (cookie["max-age"], cookie["expires"], cookie["httponly"]) == ("", "", True)


def test_sessions_that_are_long_over_are_forgotten(cast: Any):
    with time_machine.travel(NOW, tick=False) as clock:
        client = browser()
        clock.shift(24 * HOUR)
        assert sessions.forget_old_sessions() == 0
        assert "nothing was done" in told(client) or "longest" in told(client)
        clock.shift(HOUR)
        assert sessions.forget_old_sessions() == 1


def test_a_sign_in_whose_password_was_changed_meanwhile_is_none(cast: Any, monkeypatch: pytest.MonkeyPatch):
    user = User.objects.get(pk=cast.reader.pk)
    pipeline.change_password(User.objects.get(pk=user.pk), PASSWORD, FRESH, address="")
    monkeypatch.setattr("apps.accounts.forms.authenticate", lambda *_, **__: user)
    answer = Client().post(LOGIN, {"username": "reader", "password": PASSWORD})
    assert "Your account was changed in this moment. Sign in anew." in answer.content.decode()
    assert events_after(0, 500)[-1]["action"] == "person.password"


TRIES = 200


@pytest.mark.django_db(transaction=True)
def test_of_two_sign_ins_at_once_one_session_is_left():
    User.objects.create_user("somebody", password=PASSWORD)
    barrier = Barrier(2, timeout=60)

    def sign_in(_: int) -> Client:
        try:
            client = Client(headers={"Accept": "text/html"})
            barrier.wait()
            client.post(LOGIN, {"username": "somebody", "password": PASSWORD})
            return client
        finally:
            connection.close()

    left = []
    started = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        for _ in range(TRIES):
            both = list(pool.map(sign_in, range(2)))
            left += [[is_in(client) for client in both].count(True)]
    assert set(left) == {1}
    assert time.monotonic() - started < 300


@pytest.mark.django_db(transaction=True)
def test_a_token_that_is_issued_while_the_person_is_deactivated_does_not_outlive_it():
    """Whichever comes first: afterwards there is no token of somebody who is deactivated."""
    admin = User.objects.create_superuser("admin", password=PASSWORD)
    user = User.objects.create_user("somebody", password=PASSWORD)

    def sign_in(barrier: Barrier) -> str:
        try:
            barrier.wait()
            return tokens.log_in("somebody", PASSWORD, otp="", address="")[1]
        except AccountError as error:
            return error.code
        finally:
            connection.close()

    def deactivate(barrier: Barrier) -> None:
        try:
            barrier.wait()
            pipeline.set_active(user, active=False, actor=admin.actor)
        finally:
            connection.close()

    for _ in range(30):
        barrier = Barrier(2, timeout=60)
        with ThreadPoolExecutor(2) as pool:
            signing, leaving = pool.submit(sign_in, barrier), pool.submit(deactivate, barrier)
            assert signing.result().startswith(("hip_", "sign_in_anew", "login_invalid"))
            leaving.result()
        assert not ApiToken.objects.exists()
        pipeline.set_active(user, active=True, actor=admin.actor)
        LoginAttempts.objects.all().delete()
