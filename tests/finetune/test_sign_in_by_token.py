"""Signing in by a program: tokens that end with their person, by time, or when they are revoked."""

from typing import Any

import pytest
import time_machine
from authenticator import STEP, code_of
from hub_client import HubClient

from apps.accounts import pipeline
from apps.accounts.models import ApiToken, Role, User
from apps.accounts.pipeline import second_factor, tokens
from apps.audit.api import events_after, newest_events

PASSWORD, FRESH = "correct horse battery", "staple battery horse"
ACTOR = "system:test"


def log_in(name: str, **more: str) -> Any:
    return HubClient().post_json("/login", {"username": name, "password": PASSWORD, **more})


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def with_token(name: str) -> HubClient:
    answer = log_in(name)
    assert answer.status_code == 200, answer.content
    return HubClient(headers=bearer(answer.json()["token"]))


ENDS = {
    "role": lambda user: pipeline.change_role(user, Role.USER, actor=ACTOR),
    "deactivated": lambda user: pipeline.set_active(user, active=False, actor=ACTOR),
    "password": lambda user: pipeline.change_password(user, PASSWORD, FRESH, address=""),
    "link": lambda user: pipeline.use_password_link(pipeline.issue_password_link(user, actor=ACTOR), FRESH),
    "signed out": lambda user: pipeline.end_sessions(user, actor=ACTOR),
}


@pytest.mark.parametrize("end", ENDS)
def test_what_ends_a_persons_session_ends_their_tokens(cast: Any, hub: Any, end: str):
    client, other = with_token("north_doctor"), with_token("south_doctor")
    assert client.get("/api/v1/events").status_code == 200
    ENDS[end](User.objects.get(pk=cast.north_doctor.pk))
    assert client.get("/api/v1/events").status_code == 401
    assert other.get("/api/v1/events").status_code == 200


def test_signing_in_in_a_browser_ends_no_token_and_a_token_no_session(cast: Any, hub: Any):
    client, browser = with_token("north_doctor"), HubClient(headers={"Accept": "text/html"})
    browser.post("/accounts/login/", {"username": "north_doctor", "password": PASSWORD})
    again = with_token("north_doctor")
    assert [c.get("/api/v1/events").status_code for c in (client, again)] == [200, 200]
    assert browser.get("/account/").status_code == 200


def test_a_token_ends_after_twelve_hours_and_is_forgotten(cast: Any, hub: Any):
    with time_machine.travel(1_900_000_000, tick=False) as clock:
        client = with_token("reader")
        clock.shift(12 * 3600 - 1)
        assert client.get("/api/v1/events").status_code == 200
        assert tokens.forget_old_tokens() == 0
        clock.shift(1)
        assert client.get("/api/v1/events").status_code == 401
        assert tokens.forget_old_tokens() == 1


def test_tokens_are_listed_and_revoked_on_the_account_page_and_kept_as_hashes(cast: Any, hub: Any):
    client, other = with_token("reader"), with_token("north_doctor")
    token = client.defaults["HTTP_AUTHORIZATION"].split()[1]
    assert len(token) == len("hip_") + 43
    assert token not in str(list(ApiToken.objects.values())) + str(events_after(0, 500))
    client.get("/api/v1/events")
    browser = HubClient(headers={"Accept": "text/html"})
    browser.force_login(cast.reader)
    page = browser.get("/account/").content.decode()
    assert (token[:8] in page, token in page, "last used" in page) == (True, False, True)
    assert other.defaults["HTTP_AUTHORIZATION"].split()[1][:8] not in page
    for pk in ApiToken.objects.values_list("pk", flat=True):
        browser.post(f"/account/tokens/{pk}/revoke")
    assert [c.get("/api/v1/events").status_code for c in (client, other)] == [401, 200]
    ended = [event for event in events_after(0, 500) if event["action"] == "token.end"]
    assert [event["actor"] for event in ended] == [cast.reader.actor]


def test_a_person_has_twenty_tokens_and_the_oldest_goes(cast: Any, hub: Any):
    first = with_token("reader")
    for _ in range(20):
        with_token("reader")
    assert first.get("/api/v1/events").status_code == 401
    assert len(tokens.tokens_of(cast.reader)) == 20


def test_wrong_passwords_lock_here_as_on_the_sign_in_page_and_count_together(cast: Any, hub: Any):
    for _ in range(5):
        answer = HubClient().post_json("/api/v1/login", {"username": "reader", "password": "wrong"})
        assert (answer.status_code, answer.json()["code"]) == (401, "login_invalid")
        HubClient().post("/accounts/login/", {"username": "reader", "password": "wrong"})
    answer = log_in("reader")
    assert (answer.status_code, answer.json()["code"]) == (429, "login_locked")
    assert int(answer.headers["Retry-After"]) > 0
    # Counted once: by the pipeline, not by the call too.
    assert [e for e in newest_events(20, visibilities=None) if e["action"].startswith("POST")] == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"username": "reader"},
        {"username": ["reader"], "password": PASSWORD},
        {"username": "reader", "password": {"$ne": ""}},
        {"username": "x" * 1001, "password": PASSWORD},
        {"username": "reader", "password": PASSWORD, "otp": "1" * 41},
        {"username": "reader\0", "password": PASSWORD},
        [],
        "text",
    ],
    ids=str,
)
def test_what_is_no_sign_in_is_refused(cast: Any, hub: Any, body: Any):
    answer = HubClient().post_json("/login", body)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")
    assert not ApiToken.objects.exists()


def test_the_second_factor_is_asked_for_here_too(cast: Any, hub: Any, settings: Any):
    settings.REQUIRE_ADMIN_OTP = True
    answer = log_in("admin")
    assert (answer.status_code, answer.json()["code"]) == (403, "second_factor_needed")
    with time_machine.travel(1_900_000_000 // STEP * STEP + 15, tick=False):
        sealed = second_factor.new_secret(cast.admin)
        secret, _ = second_factor.shown(sealed, cast.admin)
        codes = second_factor.enrol(cast.admin, sealed, code_of(secret, -1))
        code = code_of(secret)
        for sent, status, told in (({}, 401, "otp_needed"), ({"otp": "000000"}, 401, "otp_invalid")):
            answer = log_in("admin", **sent)
            assert (answer.status_code, answer.json()["code"]) == (status, told)
        assert log_in("admin", otp=code).status_code == 200
        assert log_in("admin", otp=code).json()["code"] == "otp_invalid"
        client = HubClient(headers=bearer(log_in("admin", otp=codes[0]).json()["token"]))
        assert client.get("/api/v1/audit/checkpoints").status_code == 200
        # Without it an administrator's token is worth nothing either.
        User.objects.filter(pk=cast.admin.pk).update(has_second_factor=False)
        refused = client.get("/api/v1/audit/checkpoints")
        assert (refused.status_code, refused.json()["code"]) == (403, "second_factor_needed")
