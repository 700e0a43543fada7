"""Asking again who it is, before what somebody at a browser left open must not do."""

import html
import re
from typing import Any

import pytest
import time_machine
from authenticator import STEP, code_of
from django.urls import reverse
from matrix import BROWSER, ROWS
from scene import Scene
from walk import addresses

from apps.accounts.confirm import ADMIN_LOOKS, CALLS, PAGES
from apps.accounts.models import Role, User
from apps.accounts.pipeline import second_factor
from apps.accounts.session_store import SessionStore
from apps.audit.api import newest_events
from apps.federation.models import Run
from apps.finetune.models import Job, Lease

PASSWORD, ANSWER = "correct horse battery", "confirm_password"
MINUTES = 60


def text(answer: Any) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", answer.content.decode())).split())


def asks(answer: Any) -> bool:
    return answer.status_code == 200 and not answer.streaming and "Confirm that it is you." in text(answer)


def kept(answer: Any) -> dict[str, list[str]]:
    """The hidden fields of a page, as a browser would send them."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', answer.content.decode()):
        found.setdefault(html.unescape(name), []).append(html.unescape(value))
    found.pop("csrfmiddlewaretoken", None)
    return found


@pytest.fixture
def clock(scene: Scene) -> Any:
    """A while after the scene's people signed in, in which they went on working."""
    with time_machine.travel(_signed_in_at(scene) + 9 * MINUTES, tick=False) as travelling:
        for name in scene.people:
            scene.client(name).get("/account/")
        travelling.shift(2 * MINUTES)
        yield travelling


def _signed_in_at(scene: Scene) -> float:
    return float(SessionStore(scene.sessions["admin"])["proven"])


def test_every_line_of_the_tables_is_an_address_that_takes_forms():
    named = set(addresses())
    for line in (*PAGES, *CALLS):
        assert line.partition("/")[0] in named, line
    assert {f"admin:{name}" for name in ADMIN_LOOKS} <= named


@pytest.mark.parametrize(
    "row",
    [
        row
        for row in ROWS
        if row.method == "POST" and (row.name in PAGES or f"{row.name}/{row.what}" in PAGES) and row.before is None
    ],
    ids=str,
)
def test_each_page_of_the_table_asks_and_then_does_what_was_sent(scene: Scene, clock: Any, row: Any):
    client = scene.client("admin")
    path = reverse(row.name, kwargs=dict(row.path(scene)))
    asked = client.post(path, row.form or {}, headers=BROWSER)
    assert asks(asked)
    assert f'action="{path}"' in asked.content.decode()
    fields = kept(asked)
    assert fields == {name: [str(value)] for name, value in (row.form or {}).items()}
    done = client.post(path, fields | {ANSWER: PASSWORD}, headers=BROWSER)
    assert done.status_code == row.answers["admin"]
    assert not asks(done)
    # Whoever has just answered is not asked again for ten minutes, in this session.
    assert not asks(client.post(path, row.form or {}, headers=BROWSER))


def test_nothing_happens_before_and_everything_typed_is_carried_on(scene: Scene, clock: Any):
    client, north, south = scene.client("admin"), scene.hospitals["north"], scene.hospitals["south"]
    form = {"username": '<b>"n&w"', "role": "doctor", "hospitals": [str(north.pk), str(south.pk)]}
    asked = client.post("/people/add", form, headers=BROWSER)
    assert kept(asked) == {"username": ['<b>"n&w"'], "role": ["doctor"], "hospitals": form["hospitals"]}
    assert "<b>" not in asked.content.decode()
    form["username"] = "newcomer"
    client.post("/people/add", form, headers=BROWSER)
    assert not User.objects.filter(username="newcomer").exists()
    client.post("/people/add", form | {ANSWER: PASSWORD}, headers=BROWSER)
    made = User.objects.get(username="newcomer")
    assert (made.role, made.memberships.count()) == (Role.DOCTOR, 2)


def test_a_wrong_answer_does_nothing_and_is_guessed_no_more_often_than_at_the_sign_in_page(scene: Scene, clock: Any):
    client, path = scene.client("admin"), f"/runs/{scene.open.run_id}/abort"
    for _ in range(10):
        answer = client.post(path, {ANSWER: "wrong"}, headers=BROWSER)
        assert asks(answer)
        assert "neither your password nor" in text(answer)
    locked = client.post(path, {ANSWER: PASSWORD}, headers=BROWSER)
    assert (locked.status_code, "Too many wrong" in text(locked)) == (429, True)
    assert int(locked.headers["Retry-After"]) > 0
    assert Run.objects.get(pk=scene.open.run_id).state == "RUNNING"
    refused = [e for e in newest_events(20, visibilities=None) if e["action"] == "confirm.refused"]
    assert {e["actor"] for e in refused} == {scene.people["admin"].actor}


def test_a_code_of_the_app_is_an_answer_once(scene: Scene, clock: Any):
    admin = scene.people["admin"]
    sealed = second_factor.new_secret(admin)
    secret = second_factor.shown(sealed, admin)[0]
    second_factor.enrol(admin, sealed, code_of(secret, -1))
    client, path = scene.client("admin"), f"/people/{scene.people['north_user'].pk}/sign-out"
    code = code_of(secret)
    assert client.post(path, {ANSWER: code}, headers=BROWSER).status_code == 302
    clock.shift(11 * MINUTES // STEP * STEP)
    client.get("/account/")
    assert asks(client.post(path, {ANSWER: code}, headers=BROWSER))
    assert client.post(path, {ANSWER: PASSWORD}, headers=BROWSER).status_code == 302


def test_the_way_back_is_ours(scene: Scene, clock: Any):
    client = scene.client("admin")
    path = f"/people/{scene.people['north_user'].pk}/deactivate"
    for referer, back in {
        "http://testserver/people/?x=1": "/people/?x=1",
        "https://evil.example/": "/",
        f"http://testserver{path}": "/",
    }.items():
        page = client.post(path, headers=BROWSER | {"Referer": referer}).content.decode()
        assert f'href="{back}">Cancel' in page
        assert "evil" not in page


def test_the_records_ask_too(scene: Scene, clock: Any):
    client, person = scene.client("admin"), scene.people["north_user"]
    path = reverse("admin:accounts_user_changelist")
    form = {"action": "make_doctor", "_selected_action": [str(person.pk)]}
    asked = client.post(path, form, headers=BROWSER)
    assert asks(asked)
    assert User.objects.get(pk=person.pk).role == Role.USER
    client.post(path, kept(asked) | {ANSWER: PASSWORD}, headers=BROWSER)
    assert User.objects.get(pk=person.pk).role == Role.DOCTOR
    assert client.get(path).status_code == 200


def test_a_call_that_rides_on_a_browsers_session_is_refused(scene: Scene, clock: Any):
    client = scene.client("admin")
    path = reverse("decide-version", kwargs={"version_id": scene.held.pk, "verb": "publish"})
    answer = client.post_json(path, {})
    assert (answer.status_code, answer.json()["code"]) == (403, "confirm_needed")
    (event,) = [e for e in newest_events(3, visibilities=None) if e["facts"].get("code") == "confirm_needed"]
    assert (event["action"], event["actor"]) == ("POST decide-version", scene.people["admin"].actor)
    client.post("/people/add", {"username": "x", "role": "user", ANSWER: PASSWORD}, headers=BROWSER)
    assert client.post_json(path, {}).status_code == 200


def test_who_may_not_is_not_asked_for_nothing_and_strangers_sign_in_first(scene: Scene, clock: Any):
    path = f"/runs/{scene.open.run_id}/abort"
    assert "/accounts/login/" in scene.client("anonymous").post(path, headers=BROWSER).headers["Location"]
    client = scene.client("north_doctor")
    client.post(path, headers=BROWSER)
    assert client.post(path, {ANSWER: PASSWORD}, headers=BROWSER).status_code == 403
    # What is not in the table asks nobody.
    assert scene.client("admin").post(f"/runs/{scene.open.run_id}/pause", headers=BROWSER).status_code == 302


def test_calls_that_end_anothers_lease_or_job_are_refused_and_ones_own_are_not(scene: Scene, clock: Any):
    admin, cancel = scene.client("admin"), reverse("finetune:job-cancel", kwargs={"job_id": Job.objects.get().pk})
    for answer in (admin.post_json(cancel, {}), admin.delete("/api/v1/lease")):
        assert (answer.status_code, answer.json()["code"]) == (403, "confirm_needed")
    assert (Job.objects.get().state, Lease.objects.get().state) == ("DRAFT", "HELD")
    # Taking it asks nobody, and neither does ending what is one's own.
    assert admin.post_json("/api/v1/lease", {}).json()["code"] == "lease_held"
    owner = scene.client("north_doctor")
    assert owner.post_json(cancel, {}).status_code == 200
    assert owner.delete("/api/v1/lease").status_code == 204
