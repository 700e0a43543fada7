"""How a request runs through Django: in one thread from the first middleware to the last, where its view needs one.

Django's own handler keeps to the event loop and sends each middleware and the view to the request's thread by itself:
eighteen changes of thread a page, which cost more than most pages. A view that waits in the event loop, as a long poll
does, goes Django's way, and holds no thread.
"""

from typing import Any

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.base import BaseHandler
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import Resolver404, resolve


class HubHandler(ASGIHandler):
    """Django's handler, with a second chain of the same middleware for views that are synchronous."""

    def __init__(self) -> None:
        super().__init__()
        self._in_thread: Any = BaseHandler()
        self._in_thread.load_middleware()

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        """Return the answer."""
        response: HttpResponseBase = await (
            sync_to_async(self._in_thread.get_response, thread_sensitive=True)(request)
            if _needs_a_thread(request)
            else super().get_response_async(request)
        )
        return response


def _needs_a_thread(request: HttpRequest) -> bool:
    try:
        return not iscoroutinefunction(resolve(request.path_info).func)
    except Resolver404:
        # A static file, or nothing.
        return False
