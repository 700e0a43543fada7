"""What every answer of the hub has in common."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError
from django.http import Http404
from django.test import AsyncClient, Client, RequestFactory
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory
from rest_framework.views import APIView

from apps.audit.api import Conflict
from hospintel_core.errors import EnvelopeError
from hospintel_site import errors, health
from hospintel_site.broker import Transport
from hospintel_site.celery import app, hub_task
from hospintel_site.permissions import DenyAll


@pytest.mark.django_db
def test_healthz_says_so_when_the_database_is_away(client: Client, monkeypatch: pytest.MonkeyPatch, caplog: Any):
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.post("/healthz").status_code == 405

    class Away:
        def cursor(self) -> Any:
            raise DatabaseError

    monkeypatch.setattr(health, "connection", Away())
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json()["code"]) == (503, "database_away")


@pytest.mark.django_db
def test_what_is_not_there_is_said_in_the_callers_language(client: Client):
    for path, headers in (("/api/v1/nothing", {}), ("/nothing", {"Accept": "application/json"})):
        answer = client.get(path, headers=headers)
        assert (answer.status_code, answer.json()) == (404, {"code": "not_found", "detail": "Not found."})
    page = client.get("/nothing", headers={"Accept": "text/html"})
    assert page.status_code == 404
    assert "<h1>Not found.</h1>" in page.content.decode()


def test_a_failure_shows_nothing_of_the_inside(rf: RequestFactory):
    page = errors.server_error(rf.get("/x", headers={"Accept": "text/html"}))
    assert page.status_code == 500
    assert b"It has been logged" in page.content
    api = errors.server_error(rf.get("/api/v1/x"))
    assert json.loads(api.content)["code"] == "internal_error"


@pytest.mark.django_db
def test_a_form_without_its_token_is_refused_on_a_page_of_ours():
    answer = Client(enforce_csrf_checks=True).post("/accounts/login/", headers={"Accept": "text/html"})
    assert answer.status_code == 403
    assert b"This form has expired" in answer.content


class Raises(APIView):
    """Raises whatever the test wants, behind the default settings of every API view."""

    permission_classes = ()
    problem: Exception | None = None

    def post(self, request: Request) -> Response:
        if self.problem is not None:
            raise self.problem
        return Response(request.data)


PROBLEMS: list[tuple[Exception, int, str, str]] = [
    (EnvelopeError("envelope_magic", "Not an update."), 400, "envelope_magic", "Not an update."),
    (Conflict("The round is no longer COLLECTING."), 409, "conflict", "The round is no longer COLLECTING."),
    (Http404("internal words"), 404, "not_found", "Not found."),
    (PermissionDenied("internal words"), 403, "permission_denied", "You may not do this."),
    (exceptions.NotAuthenticated(), 403, "not_authenticated", "Authentication credentials were not provided."),
    (exceptions.Throttled(), 429, "throttled", "Request was throttled."),
    (exceptions.ValidationError({"epochs": ["Too many."]}), 400, "bad_request", "epochs: Too many."),
    (serializers.ValidationError("Wrong."), 400, "bad_request", "Wrong."),
    (exceptions.UnsupportedMediaType("x/y"), 415, "unsupported_media_type", 'Unsupported media type "x/y" in request.'),
]


@pytest.mark.parametrize(("problem", "status", "code", "detail"), PROBLEMS)
def test_every_error_has_a_code_and_a_detail(problem: Exception, status: int, code: str, detail: str):
    response = Raises.as_view(problem=problem)(APIRequestFactory().post("/", {}, format="json"))
    assert (response.status_code, response.data) == (status, {"code": code, "detail": detail})


@pytest.mark.parametrize(
    "body", [b"{", b"[" * 100_000, b'{"a": 1, "a": 2}', b"[NaN]", b"[1e999]", b'"\\ud800"', b"\xff", b"1" * 10_000]
)
def test_a_body_that_cannot_be_read_in_one_way_only_is_a_bad_request(body: bytes):
    response = Raises.as_view()(APIRequestFactory().post("/", body, content_type="application/json"))
    assert (response.status_code, response.data["code"]) == (400, "bad_request")


def test_a_body_of_plain_json_is_read():
    body = '{"a": [1, null, "ü"]}'.encode()
    response = Raises.as_view()(APIRequestFactory().post("/", body, content_type="application/json"))
    assert (response.status_code, response.data) == (200, {"a": [1, None, "ü"]})


def test_a_view_that_names_no_permission_is_closed():
    class Forgotten(APIView):
        def get(self, request: Request) -> Response:
            return Response("open")

    assert Forgotten.permission_classes == [DenyAll]
    response = Forgotten.as_view()(APIRequestFactory().get("/"))
    assert (response.status_code, response.data["code"]) == (403, "not_authenticated")


def test_tasks_take_keyword_only_arguments():
    with pytest.raises(TypeError, match="keyword-only"):

        @hub_task()
        def careless(round_id: str) -> None:
            """Takes its argument by position."""

    @hub_task(queue="training")
    def careful(*, round_id: str) -> str:
        """Takes it by name."""
        return round_id

    try:
        assert careful.acks_late
        assert careful.reject_on_worker_lost
        assert app.amqp.router.route({}, careful.name)["queue"].name == "training"
        assert careful(round_id="x") == "x"
    finally:
        # Other tests ask what tasks there are.
        app.tasks.unregister(careful.name)


ROOT = Path(__file__).resolve().parents[2]


def test_the_embedded_queue_is_the_one_without_half_messages():
    assert isinstance(app.connection().transport, Transport)


STYLE = "/static/css/tokens.css"


def test_static_files_come_from_the_checkout_with_an_etag(client: Client):
    answer = client.get(STYLE)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/css")
    assert b"".join(answer.streaming_content).startswith(b"/*")  # type: ignore[attr-defined]
    again = client.get(STYLE, headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304
    assert client.get("/static/../manage.py").status_code == 404


def test_static_files_are_read_in_pieces_in_async_mode(async_client: AsyncClient):
    async def fetch() -> bytes:
        answer = await async_client.get(STYLE)
        assert (await async_client.head(STYLE)).status_code == 200
        return b"".join([piece async for piece in answer.streaming_content])  # type: ignore[attr-defined]

    assert asyncio.run(fetch()) == (ROOT / STYLE.lstrip("/")).read_bytes()


@pytest.mark.django_db
def test_nobody_keeps_an_answer_that_does_not_say_for_how_long(client: Client, async_client: AsyncClient, cast: Any):
    client.force_login(cast.admin)
    for path in ("/", "/status", "/api/v1/events", "/healthz", "/nothing", "/admin/"):
        assert "no-store" in client.get(path).headers["Cache-Control"], path
    style = client.get(STYLE)
    style.close()
    assert style.headers["Cache-Control"].startswith("max-age=")
    assert asyncio.run(async_client.get("/healthz")).headers["Cache-Control"] == "no-store"
