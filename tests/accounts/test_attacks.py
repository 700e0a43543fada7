"""What somebody would try: names that are code, addresses that lead away, requests that a form never sends."""

from typing import Any

import pytest
from django.urls import reverse
from matrix import BROWSER, LOGIN, ROWS, Row
from scene import Scene
from walk import prepared, send

from apps.accounts.models import Hospital, User
from apps.audit.api import newest_events
from apps.federation.models import Agent, ModelVersion, Run

EVIL = "<img src=x onerror=alert(1)>\"'`{{7*7}}"
# As it must not stand in a page: a tag that begins, an attribute's end.
RAW = ("<img src=x", "onerror=alert(1)>\"'", "49`")


def poison(scene: Scene) -> None:
    """Put code wherever somebody's words are kept, past every check."""
    for number, hospital in enumerate(Hospital.objects.all()):
        Hospital.objects.filter(pk=hospital.pk).update(name=f"{EVIL}{number}")
    Agent.objects.update(version=EVIL[:40])
    ModelVersion.objects.update(verdict=EVIL, alarm=EVIL)
    Run.objects.update(started_by=EVIL)
    User.objects.filter(username="north_user").update(username=EVIL, first_name=EVIL, email=EVIL)


@pytest.mark.parametrize("row", [row for row in ROWS if row.method == "GET"], ids=str)
def test_what_somebody_wrote_stays_text_on_every_page(scene: Scene, row: Row):
    poison(prepared(row, scene))
    for caller in ("admin", "north_doctor", "north_agent"):
        answer = send(scene, row, caller)
        if answer.headers.get("Content-Type", "").startswith("text/html"):
            content = answer.content.decode()
            assert [raw for raw in RAW if raw in content] == [], caller
        else:
            # A browser that is led here shows it as what it is said to be.
            assert answer.headers.get("X-Content-Type-Options") == "nosniff"


AWAY = ["//evil.example", "https://evil.example/", r"\\evil.example", "/\\evil.example", "javascript:alert(1)", "///x"]


@pytest.mark.parametrize("away", AWAY)
def test_no_door_leads_to_another_site(scene: Scene, away: str):
    form = {"username": "north_user", "password": "correct horse battery", "next": away}
    for address in ("/accounts/login/", "/admin/login/"):
        answer = scene.client("anonymous").post(f"{address}?next={away}", form)
        location = answer.headers["Location"]
        assert location == "/" or location.startswith(LOGIN)
        # Of others: signing in has ended that person's session.
        answer = scene.client("south_user").get("/accounts/login/", {"next": away})
        assert answer.headers["Location"] == "/"
    for caller in ("south_user", "admin"):
        answer = scene.client(caller).post(f"/accounts/logout/?next={away}", {"next": away})
        assert "evil" not in answer.headers["Location"]
        assert answer.headers["Location"].startswith("/")


@pytest.mark.parametrize("row", [row for row in ROWS if row.method == "POST" and row.answers["admin"] == 302], ids=str)
def test_a_form_leads_back_to_our_own_pages_whatever_it_is_told(scenes: Any, row: Row):
    with scenes() as scene:
        client = scene.client("admin")
        path = reverse(row.name, kwargs=dict(row.path(prepared(row, scene))))
        form = row.form(scene, "admin") if callable(row.form) else row.form or {}
        form |= {"next": "//evil.example", "back": "//evil.example"}
        answer = client.post(f"{path}?next=//evil.example", form, headers={"Referer": "https://evil.example/"})
        if "/admin/" in path and answer.status_code == 400:
            # A list that takes no such filter.
            answer = client.post(path, form)
        assert answer.status_code == 302
        assert answer.headers["Location"].startswith("/")
        assert not answer.headers["Location"].startswith("//")


@pytest.mark.parametrize("field", ["username", "next", "reason"])
def test_a_line_break_in_a_form_makes_no_header(scene: Scene, field: str):
    form = {"username": "north_user", "password": "correct horse battery", field: "/x\r\nSet-Cookie: a=b"}
    answer = scene.client("anonymous").post("/accounts/login/", form)
    assert "a" not in answer.cookies
    assert all("\n" not in value for value in answer.headers.values())


def test_a_session_is_another_one_after_signing_in_and_gone_after_signing_out(scene: Scene):
    client = scene.client("anonymous")
    client.cookies["session"] = "chosen-by-somebody-else-000000000"
    client.post("/accounts/login/", {"username": "north_user", "password": "correct horse battery"})
    cookie = client.cookies["session"]
    assert cookie.value != "chosen-by-somebody-else-000000000"
    assert (cookie["httponly"], cookie["samesite"]) == (True, "Lax")
    stolen = cookie.value
    client.post("/accounts/logout/")
    thief = scene.client("anonymous")
    thief.cookies["session"] = stolen
    assert thief.get("/", headers=BROWSER).headers["Location"].startswith(LOGIN)


def test_an_agents_token_opens_no_page_and_a_session_no_agents_call(scene: Scene):
    """The token in a cookie, the session's key as a token: neither is taken for the other."""
    token = scene.agent("north").token
    client = scene.client("anonymous")
    client.cookies["session"] = token
    assert client.get("/", headers=BROWSER).headers["Location"].startswith(LOGIN)
    key = scene.sessions["admin"]
    answer = scene.client("anonymous").get("/model", headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 401


def test_method_overrides_are_not_heard(scene: Scene):
    client = scene.client("admin")
    before = Run.objects.get(pk=scene.open.run_id).state
    path = f"/runs/{scene.open.run_id}/abort"
    for headers in ({"X-HTTP-Method-Override": "POST"}, {"X-Method-Override": "POST"}):
        assert client.get(f"{path}?_method=POST", headers=headers).status_code == 405
    assert Run.objects.get(pk=scene.open.run_id).state == before


def test_a_page_that_a_role_does_not_open_is_a_refusal_in_the_audit(scene: Scene):
    for method, path, action in (("POST", "/runs/start", "POST run-start"), ("GET", "/admin/", "GET admin:index")):
        assert scene.client("north_doctor").generic(method, path, headers=BROWSER).status_code == 403
        (event,) = [e for e in newest_events(3, visibilities=None) if e["action"] == action]
        assert (event["outcome"], event["actor"]) == ("denied", scene.people["north_doctor"].actor)
        assert event["facts"]["address"] == "127.0.0.1"


def test_events_of_codes_are_the_hospitals_own(scene: Scene):
    """Whom the hub expects next, and how many scans an agent may claim, is nobody else's business."""
    for caller in ("south_user", "outsider"):
        events = scene.client(caller).get("/api/v1/events").json()["events"]
        others = [e for e in events if e["action"].startswith("code.") and e["visibility"] == "everyone"]
        assert others == []
    own = scene.client("north_user").get("/api/v1/events").json()["events"]
    assert {event["action"] for event in own} >= {"code.issue", "code.used"}
