"""What nobody may keep: every answer that does not say otherwise."""

from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

HEADER, NEVER = "Cache-Control", "no-store"


@sync_and_async_middleware
def keep_nothing(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Add `Cache-Control: no-store` to answers without that header: a token or an event is for its caller alone.

    Static files are answered further out, and what is served by its digest says itself how long it may be kept.
    """
    if iscoroutinefunction(get_response):

        async def answer_later(request: HttpRequest) -> HttpResponseBase:
            waiting: Awaitable[HttpResponseBase] = get_response(request)
            return _marked(await waiting)

        return answer_later

    def answer(request: HttpRequest) -> HttpResponseBase:
        return _marked(get_response(request))

    return answer


def _marked(response: HttpResponseBase) -> HttpResponseBase:
    response.headers.setdefault(HEADER, NEVER)
    return response
