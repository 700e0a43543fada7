"""How a request runs through Django: with few changes of thread where its view is synchronous, with none beside it."""

import asyncio
import threading
from typing import Any

import pytest
from asgiref.sync import SyncToAsync
from asgiref.testing import ApplicationCommunicator
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from django.urls import path

from hospintel_site.handler import HubHandler

seen: dict[str, int] = {}


def in_a_thread(_request: HttpRequest) -> HttpResponse:
    seen["view"] = threading.get_ident()
    return HttpResponse("thread")


async def in_the_loop(_request: HttpRequest) -> HttpResponse:
    seen["view"] = threading.get_ident()
    return HttpResponse("loop")


def failing(_request: HttpRequest) -> HttpResponse:
    raise LookupError("as it is meant to")


urlpatterns = [path("thread", in_a_thread), path("loop", in_the_loop), path("failing", failing)]


def ask(address: str, monkeypatch: pytest.MonkeyPatch) -> tuple[int, bytes, int, bool]:
    """The status, the body, how often the handler changed threads, and whether the view was in the loop's."""
    changes, real = [], SyncToAsync.__call__

    async def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        changes.append(self)
        return await real(self, *args, **kwargs)

    async def scene() -> tuple[int, bytes, bool]:
        headers = [(b"host", b"localhost")]
        scope = {"type": "http", "http_version": "1.1", "method": "GET", "path": address, "headers": headers}
        communicator = ApplicationCommunicator(HubHandler(), {**scope, "query_string": b"", "scheme": "http"})
        await communicator.send_input({"type": "http.request", "body": b""})
        start = await communicator.receive_output(60)
        body = await communicator.receive_output(60)
        await communicator.wait(60)
        return start["status"], body["body"], seen.get("view") == threading.get_ident()

    seen.clear()
    monkeypatch.setattr(SyncToAsync, "__call__", counted)
    with override_settings(ROOT_URLCONF=__name__):
        status, body, in_loop = asyncio.run(scene())
    return status, body, len(changes), in_loop


@pytest.mark.django_db
def test_a_synchronous_view_and_its_middleware_run_in_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    status, body, changes, in_loop = ask("/thread", monkeypatch)
    assert (status, body, in_loop) == (200, b"thread", False)
    # Signals and the answer's end besides.
    assert changes <= 5


@pytest.mark.django_db
def test_a_view_that_waits_in_the_loop_holds_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask("/loop", monkeypatch)[:2] == (200, b"loop")
    assert seen["view"] == threading.get_ident()


@pytest.mark.django_db
@pytest.mark.parametrize(("address", "status"), [("/failing", 500), ("/nowhere", 404)])
def test_what_goes_wrong_is_answered(monkeypatch: pytest.MonkeyPatch, address: str, status: int) -> None:
    assert ask(address, monkeypatch)[0] == status
