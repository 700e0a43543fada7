"""Tokens of people beside the matrix: worth what their person may do, and never taken for anything else."""

from typing import Any

import pytest
import time_machine
from django.urls import reverse
from hub_client import HubClient
from matrix import ROWS
from scene import PEOPLE, Scene
from walk import got, prepared, send_with

from apps.accounts.models import ApiToken
from apps.accounts.pipeline import people, tokens
from apps.accounts.session_store import SessionStore
from apps.federation.models import Agent, ModelVersion
from apps.finetune.pipeline import lease

PASSWORD = "correct horse battery"


def log_in(name: str) -> Any:
    return HubClient().post_json("/login", {"username": name, "password": PASSWORD})


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def with_token(name: str) -> HubClient:
    return HubClient(headers=bearer(log_in(name).json()["token"]))


def test_a_token_comes_with_the_lease_if_it_is_free_and_without_it_otherwise(scene: Scene):
    held = log_in("south_doctor").json()
    assert held["message"].startswith("Signed in. north_doctor has the fine-tuning lease until ")
    lease.release(scene.people["north_doctor"], by="holder")
    taken = log_in("south_doctor").json()
    assert taken["message"].startswith("Signed in. You have the fine-tuning lease until ")
    assert log_in("north_user").json()["message"] == "Signed in. Your role does not fine-tune."
    client = HubClient(headers=bearer(held["token"]))
    assert client.get("/check_session").json() == {"logged_in": True, "user": "south_doctor"}
    assert HubClient().get("/check_session").json() == {"logged_in": True, "user": None}
    assert client.post("/logout").json() == {"message": "Signed out."}
    assert HubClient().get("/check_session").json() == {"logged_in": False, "user": None}
    # The other token of the person goes on.
    assert client.post("/logout").status_code == 401
    assert HubClient(headers=bearer(taken["token"])).get("/api/v1/events").status_code == 200


# Calls whose callers are known by their credentials; what is open to anyone is answered as to anyone.
OF_PEOPLE = {
    "events",
    "audit-checkpoints",
    "runs",
    "steer-run",
    "decide-version",
    "model",
    "v1-model",
    "federation-model",
    "finetune:lease",
    "finetune:upload-model",
    "finetune:v1-upload-model",
    "finetune:model-upload",
    "finetune:check-session",
    "finetune:v1-check-session",
}


@pytest.mark.parametrize("row", [row for row in ROWS if row.name in OF_PEOPLE], ids=str)
def test_a_token_opens_what_its_persons_session_opens(scenes: Any, row: Any):
    for name in PEOPLE:
        with scenes() as scene:
            _, token = tokens.log_in(scene.people[name].username, PASSWORD, otp="", address="")
            prepared(row, scene)
            client = HubClient(raise_request_exception=False, headers=bearer(token), enforce_csrf_checks=True)
            assert got(row, scene, send_with(client, scene, row, name)) == row.answers[name], name


def test_a_token_opens_no_page_and_no_agents_call_and_an_agents_opens_no_persons(scene: Scene):
    admin, agent = with_token("admin"), scene.agent("north")
    pages = {row.name for row in ROWS if row.method == "GET" and row.answers["anonymous"] == "/accounts/login/?next="}
    assert len(pages) > 10
    for name in ("rounds", "accounts:account", "accounts:people", "models", "audit"):
        assert admin.get(reverse(name), headers={"Accept": "text/html"}).status_code == 302
    for row in ROWS:
        if row.answers["anonymous"] == 401 and row.answers["admin"] == 401 and "logout" not in row.name:
            path = reverse(row.name, kwargs=dict(row.path(scene)))
            assert admin.generic(row.method, path + row.query).status_code == 401, row
    # Neither kind is found among the other, whatever it looks like.
    Agent.objects.filter(pk=agent.row.pk).update(token_hash=people.secret_hash("hip_" + "a" * 43))
    ApiToken.objects.filter(user=scene.people["admin"]).update(token_hash=people.secret_hash(agent.token))
    disguised = HubClient(headers=bearer("hip_" + "a" * 43))
    assert disguised.get("/api/v1/events").status_code == 401
    assert disguised.get("/model").status_code == 401
    assert HubClient(headers=bearer(agent.token)).get("/api/v1/events").status_code == 403


@pytest.mark.parametrize("sent", ["hip_", "hip_wrong", "hip_" + "x" * 10_000, "hip_\xff", "HIP_x"])
def test_a_wrong_token_is_refused_though_a_session_comes_with_it(scene: Scene, sent: str):
    client = scene.client("admin")
    answer = client.get("/api/v1/events", headers=bearer(sent))
    expected = (200, None) if sent == "HIP_x" else (401, "token_invalid")
    assert (answer.status_code, answer.json().get("code")) == expected
    # And none of them spares a browser the question who it is.
    with time_machine.travel(_now(scene) + 11 * 60, tick=False):
        path = reverse("decide-version", kwargs={"version_id": scene.held.pk, "verb": "publish"})
        assert client.post_json(path, {}, headers=bearer(sent)).status_code in {401, 403}
    assert ModelVersion.objects.get(pk=scene.held.pk).state == "HELD"


def _now(scene: Scene) -> float:
    return float(SessionStore(scene.sessions["admin"])["proven"])
