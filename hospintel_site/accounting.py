"""What is said of each request: its id, its line in the log, its place in the metrics.

Around the whole application rather than a middleware: a download, or a long poll, has cost what it costs when its last
byte is out.
"""

import logging
import re
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

from hospintel_site import logs, timings
from hospintel_site.callers import METHODS

logger = logging.getLogger(logs.ACCESS)
HEADER = b"x-request-id"
# Under this name the call lies in the scope.
KEY = "hospintel.call"
# From a proxy, which may take it from a stranger.
_ID = re.compile(rb"[0-9A-Za-z._-]{8,64}")
# Asked every few seconds, and nothing to tell of as long as the answer is yes.
QUIET = frozenset({"healthz", "readyz", "metrics"})
SUCCESS = range(200, 300)


@dataclass
class Call:
    """One request, as far as it has come."""

    id: str
    method: str
    route: str = ""
    round: str = ""
    status: int = 0
    bytes_in: int = 0
    bytes_out: int = 0

    @property
    def outcome(self) -> str:
        """Return the class of the status, or that the caller was gone before there was one."""
        return f"{self.status // 100}xx" if self.status else "gone"


def accounted(application: Any) -> Any:
    """Return the application with an account of each HTTP request."""

    async def run(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await application(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in METHODS else "OTHER"
        call, started = Call(_request_id(scope), method), perf_counter()
        with logs.about(request=call.id):
            try:
                await application({**scope, KEY: call}, _counting(call, receive), _marking(call, send))
            except Exception:
                call.status = 500
                raise
            finally:
                _close(call, scope["path"], perf_counter() - started)

    return run


def note_unread(code: str) -> None:
    """Say of a request that the web server refused it before the application saw it: too large, too slow, too many."""
    timings.note("request", "unread", "5xx" if code == "hub_busy" else "4xx", 0.0)
    logger.info("refused unread: %s", code, extra={"fields": {"route": "unread", "code": code}})


def _request_id(scope: dict[str, Any]) -> str:
    """Take the id that the proxy gave, if there is one, or make one: strangers choose none."""
    given = next((value for name, value in scope["headers"] if name == HEADER), b"") if settings.BEHIND_PROXY else b""
    return given.decode() if _ID.fullmatch(given) else secrets.token_hex(8)


def _counting(call: Call, receive: Any) -> Callable[[], Awaitable[dict[str, Any]]]:
    async def counted() -> dict[str, Any]:
        message: dict[str, Any] = await receive()
        call.bytes_in += len(message.get("body", b""))
        return message

    return counted


def _marking(call: Call, send: Any) -> Callable[[dict[str, Any]], Awaitable[None]]:
    async def marked(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            call.status = message["status"]
            message = {**message, "headers": [*message.get("headers", []), (HEADER, call.id.encode())]}
        call.bytes_out += len(message.get("body", b""))
        await send(message)

    return marked


def _close(call: Call, path: str, seconds: float) -> None:
    route = call.route or ("static" if path.startswith(settings.STATIC_URL) else "none")
    timings.note("request", route, call.outcome, seconds, bytes_in=call.bytes_in, bytes_out=call.bytes_out)
    if route in QUIET and call.status in SUCCESS:
        return
    fields = {
        "method": call.method,
        "route": route,
        "status": call.status,
        "seconds": round(seconds, 4),
        "bytes_in": call.bytes_in,
        "bytes_out": call.bytes_out,
    }
    if call.round:
        fields["round"] = call.round
    logger.info("%s %s %s", call.method, route, call.status or call.outcome, extra={"fields": fields})


@sync_and_async_middleware
def name_route(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Tell the account of a request by which name its address goes, and of which round it is."""
    if iscoroutinefunction(get_response):

        async def answer_later(request: HttpRequest) -> HttpResponseBase:
            response: HttpResponseBase = await get_response(request)
            _name(request)
            return response

        return answer_later

    def answer(request: HttpRequest) -> HttpResponseBase:
        response: HttpResponseBase = get_response(request)
        _name(request)
        return response

    return answer


def _name(request: HttpRequest) -> None:
    call, match = getattr(request, "scope", {}).get(KEY), request.resolver_match
    if call is not None and match is not None:
        call.route = match.view_name or "unnamed"
        call.round = str(match.kwargs.get("round_id", ""))
