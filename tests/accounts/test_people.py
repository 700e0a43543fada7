"""Accounts: added by administrators, passwords set by one-time links, changed by their owners; sessions that end."""

import html
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import connection
from django.test import Client
from django.utils import timezone

from apps.accounts import pipeline
from apps.accounts.models import Membership, PasswordLink, Role, User
from apps.accounts.pipeline import AccountError, passwords, people
from apps.audit.api import events_after, transaction

pytestmark = pytest.mark.django_db
PASSWORD, FRESH = "correct horse battery", "staple battery horse"
ACTOR = "system:test"
LINK = "/password/"


def browser(person: User) -> Client:
    """A browser in which somebody is signed in."""
    client = Client(headers={"Accept": "text/html"})
    assert client.post("/accounts/login/", {"username": person.username, "password": PASSWORD}).status_code == 302
    return client


def text(answer: Any) -> str:
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode())))


def last(action: str) -> dict[str, Any]:
    return [event for event in events_after(0, 500) if event["action"] == action][-1]


def link_in(answer: Any) -> str:
    found = re.search(r'<pre id="link"[^>]*>http://testserver/password/#([\w-]{43})</pre>', answer.content.decode())
    assert found, text(answer)
    return found[1]


def test_somebody_added_sets_a_password_that_nobody_else_knows(cast: Any):
    fields = {"username": "new", "role": "doctor", "hospitals": [cast.north.pk]}
    shown = browser(cast.admin).post("/people/add", fields)
    token = link_in(shown)
    new = User.objects.get(username="new")
    assert (new.role, new.has_usable_password()) == (Role.DOCTOR, False)
    assert new.groups.get() == cast.north.members_group
    made = [event["action"] for event in events_after(0, 500) if event["actor"] == cast.admin.actor][-3:]
    assert made == ["person.create", "member.add", "password.link"]
    assert token not in str(events_after(0, 500))
    client = Client(headers={"Accept": "text/html"})
    assert "For the account new" in text(client.post(LINK, {"token": token}))
    answer = client.post(LINK, {"token": token, "new_password1": FRESH, "new_password2": FRESH})
    assert (answer.status_code, answer.headers["Location"]) == (302, "/")
    assert client.get("/account/").status_code == 200
    assert (last("person.password")["actor"], last("person.password")["facts"]["by"]) == (new.actor, "link")
    again = client.post(LINK, {"token": token, "new_password1": PASSWORD, "new_password2": PASSWORD})
    assert "This link is used" in text(again)
    assert User.objects.get(pk=new.pk).check_password(FRESH)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"username": "reader", "role": "user"}, "There already is somebody called reader."),
        ({"username": "", "role": "user"}, "This field is required."),
        ({"username": "a b", "role": "user"}, "Enter a valid username"),
        ({"username": "new", "role": "king"}, "not one of the available choices"),
        ({"username": "new", "role": "user", "hospitals": ["nowhere"]}, "not a valid"),
    ],
)
def test_what_is_wrong_with_a_new_person_is_said_beside_the_field(cast: Any, fields: Any, says: str):
    before = User.objects.count()
    answer = browser(cast.admin).post("/people/add", fields)
    assert answer.status_code == 200
    assert says in text(answer)
    assert User.objects.count() == before


def test_a_link_ends_the_sessions_of_its_person_and_the_password_before_it(cast: Any):
    first, other = browser(cast.north_doctor), browser(cast.south_doctor)
    token = link_in(browser(cast.admin).post(f"/people/{cast.north_doctor.pk}/link"))
    assert first.get("/account/").status_code == 200
    Client().post(LINK, {"token": token, "new_password1": FRESH, "new_password2": FRESH})
    assert first.get("/account/").status_code == 302
    assert other.get("/account/").status_code == 200
    changed = User.objects.get(pk=cast.north_doctor.pk)
    assert (changed.check_password(FRESH), changed.check_password(PASSWORD)) == (True, False)


def test_a_link_ends_by_time_by_another_link_and_with_its_person(cast: Any):
    old = pipeline.issue_password_link(cast.reader, actor=ACTOR)
    token = pipeline.issue_password_link(cast.reader, actor=ACTOR)
    assert pipeline.find_password_link(old) is None
    assert pipeline.find_password_link(token) is not None
    assert token not in str(PasswordLink.objects.values())
    pipeline.set_active(cast.reader, active=False, actor=ACTOR)
    for attempt in (token, old, "wrong", "\ud800"):
        assert pipeline.find_password_link(attempt) is None
        with pytest.raises(AccountError, match="no longer valid"):
            pipeline.use_password_link(attempt, FRESH)
    with pytest.raises(AccountError, match="deactivated"):
        pipeline.issue_password_link(cast.reader, actor=ACTOR)
    pipeline.set_active(cast.reader, active=True, actor=ACTOR)
    PasswordLink.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    with pytest.raises(AccountError, match="no longer valid"):
        pipeline.use_password_link(token, FRESH)
    assert User.objects.get(pk=cast.reader.pk).check_password(PASSWORD)


@pytest.mark.django_db(transaction=True)
def test_of_ten_uses_of_a_link_at_once_one_sets_the_password():
    user = User.objects.create_user("somebody", password=PASSWORD)
    token = pipeline.issue_password_link(user, actor=ACTOR)
    barrier = Barrier(10)

    def use(number: int) -> bool:
        barrier.wait()
        try:
            pipeline.use_password_link(token, f"{FRESH} {number}")
        except AccountError:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(10) as pool:
        won = [number for number, done in enumerate(pool.map(use, range(10))) if done]
    assert len(won) == 1
    assert User.objects.get(pk=user.pk).check_password(f"{FRESH} {won[0]}")


def test_changing_the_own_password_keeps_this_browser_signed_in(cast: Any):
    here = browser(cast.north_doctor)
    stolen = Client(headers={"Accept": "text/html"})
    stolen.cookies["session"] = here.cookies["session"].value
    fields = {"old_password": PASSWORD, "new_password1": FRESH, "new_password2": FRESH}
    assert "Your password is changed." in text(here.post("/account/password", fields, follow=True))
    assert stolen.get("/account/").status_code == 302
    assert here.get("/account/").status_code == 200
    assert last("person.password")["facts"]["by"] == "owner"
    assert FRESH not in str(events_after(0, 500))


def test_changing_the_own_password_ends_an_open_link(cast: Any):
    token = pipeline.issue_password_link(cast.reader, actor=ACTOR)
    pipeline.change_password(cast.reader, PASSWORD, FRESH, address="")
    assert pipeline.find_password_link(token) is None
    with pytest.raises(pipeline.AccountError):
        pipeline.use_password_link(token, f"{FRESH} 2")


def test_the_present_password_is_guessed_on_the_account_page_no_more_often_than_at_the_login_page(cast: Any):
    client = browser(cast.north_doctor)
    fields = {"old_password": "wrong", "new_password1": FRESH, "new_password2": FRESH}
    for _ in range(10):
        answer = client.post("/account/password", fields)
        assert (answer.status_code, "not your present password" in text(answer)) == (200, True)
    answer = client.post("/account/password", fields | {"old_password": PASSWORD})
    assert (answer.status_code, "Too many wrong passwords" in text(answer)) == (429, True)
    assert int(answer.headers["Retry-After"]) > 0
    assert last("person.password")["outcome"] == "denied"
    assert User.objects.get(pk=cast.north_doctor.pk).check_password(PASSWORD)


def test_a_password_that_was_changed_meanwhile_is_not_changed_again(cast: Any, monkeypatch: pytest.MonkeyPatch):
    def hash_slowly(password: str) -> str:
        User.objects.filter(pk=cast.reader.pk).update(password="other")
        return people.make_password(password)

    monkeypatch.setattr(passwords, "make_password", hash_slowly)
    with pytest.raises(AccountError, match="changed in this moment"):
        pipeline.change_password(cast.reader, PASSWORD, FRESH, address="")
    assert User.objects.get(pk=cast.reader.pk).password == "other"


def test_nobodys_password_is_hashed_while_the_database_is_held(cast: Any, monkeypatch: pytest.MonkeyPatch):
    held = []

    def note(original: Any) -> Any:
        def hashing(password: str | None, *args: Any) -> Any:
            # The test itself has one transaction open.
            held.append(password is not None and len(connection.savepoint_ids) > 0)
            return original(password, *args)

        return hashing

    for module in (passwords, people):
        monkeypatch.setattr(module, "make_password", note(module.make_password))
    monkeypatch.setattr(passwords, "check_password", note(passwords.check_password))
    with transaction():
        assert connection.savepoint_ids
    pipeline.create_person("one", FRESH, role=Role.USER, actor=ACTOR)
    two, token = pipeline.add_person("two", role=Role.USER, hospitals=[], actor=ACTOR)
    pipeline.use_password_link(token, FRESH)
    two.refresh_from_db()
    pipeline.change_password(two, FRESH, PASSWORD, address="")
    assert (len(held), any(held)) == (5, False)


def test_being_signed_out_by_an_administrator(cast: Any):
    theirs, other, admin = browser(cast.reader), browser(cast.north_doctor), browser(cast.admin)
    assert "reader is signed in." in text(admin.get(f"/people/{cast.reader.pk}/"))
    assert "reader is signed out." in text(admin.post(f"/people/{cast.reader.pk}/sign-out", follow=True))
    assert "reader is not signed in." in text(admin.get(f"/people/{cast.reader.pk}/"))
    assert [client.get("/account/").status_code for client in (theirs, other, admin)] == [302, 200, 200]
    assert last("person.sign_out")["object"] == f"user:{cast.reader.pk}"


def test_role_and_hospitals_are_changed_together(cast: Any):
    admin = browser(cast.admin)
    page = f"/people/{cast.north_doctor.pk}"
    assert "checked" in admin.get(f"{page}/").content.decode().partition("North Clinic")[0][-200:]
    answer = admin.post(f"{page}/change", {"role": "user", "hospitals": [cast.south.pk]}, follow=True)
    assert "north_doctor is changed." in text(answer)
    changed = User.objects.get(pk=cast.north_doctor.pk)
    assert (changed.role, list(changed.groups.all())) == (Role.USER, [cast.south.members_group])
    assert Membership.objects.get(user=changed).hospital == cast.south
    assert "not one of the available choices" in text(admin.post(f"{page}/change", {"role": "king"}))


@pytest.mark.parametrize(("verb", "fields"), [("change", {"role": "doctor"}), ("deactivate", {})])
def test_the_last_administrator_stays_one(cast: Any, verb: str, fields: Any):
    answer = browser(cast.admin).post(f"/people/{cast.admin.pk}/{verb}", fields, follow=True)
    assert "This is the only active administrator." in text(answer)
    admin = User.objects.get(pk=cast.admin.pk)
    assert (admin.role, admin.is_active) == (Role.ADMIN, True)


def test_somebody_deactivated_is_out_and_comes_back(cast: Any):
    admin, theirs = browser(cast.admin), browser(cast.reader)
    answer = admin.post(f"/people/{cast.reader.pk}/deactivate", follow=True)
    assert "reader is deactivated." in text(answer)
    assert theirs.get("/account/").status_code == 302
    assert "reader may sign in again" in text(admin.post(f"/people/{cast.reader.pk}/activate", follow=True))


def test_the_list_says_who_has_which_role_and_no_password_yet(cast: Any):
    pipeline.add_person("new", role=Role.USER, hospitals=[cast.south], actor=ACTOR)
    shown = text(browser(cast.admin).get("/people/"))
    assert "6 people have an account." in shown
    assert "new User South Clinic No password yet never" in shown
    assert "admin Administrator all Active" in shown


@pytest.mark.parametrize(
    ("password", "allowed"),
    [
        ("eleven char", False),
        ("twelve chars", True),
        ("alllowercasewords", True),
        ("ünïcödé päßwörter", True),
        ("    with spaces    ", True),
        ("x9$" * 100, True),
        ("123456qwerty", False),
        ("Q1W2E3R4T5Y6", False),
        ("north_doctor1", False),
        ("northdoctor!", False),
    ],
)
def test_the_rules_ask_for_length_and_forbid_what_everybody_guesses_and_nothing_else(
    cast: Any, password: str, allowed: bool
):
    try:
        validate_password(password, cast.north_doctor)
    except ValidationError:
        assert not allowed
    else:
        assert allowed
