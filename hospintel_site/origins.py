"""Which pages may open a WebSocket: ours alone."""

from typing import Any
from urllib.parse import urlsplit

from channels.security.websocket import WebsocketDenier
from django.conf import settings
from django.http.request import split_domain_port, validate_host
from django.utils.http import is_same_domain


class SameOriginOnly:
    """Lets a WebSocket in whose Origin is the one that it came to, with scheme and port, or a trusted one.

    The browser sends its cookies to every port of a host. Without this, a page of another service on the same host
    could read the events of whoever is signed in here.
    """

    def __init__(self, application: Any) -> None:
        self.application = application

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> Any:
        """Pass the connection on, or refuse it."""
        headers = dict(scope.get("headers", []))
        allowed = is_ours(_text(headers, b"origin"), _text(headers, b"host"))
        return await (self.application if allowed else WebsocketDenier())(scope, receive, send)


def is_ours(origin: str, host: str) -> bool:
    """Return whether a page of this origin may speak to the host that a request names."""
    domain, _ = split_domain_port(host)
    if domain and validate_host(domain, settings.ALLOWED_HOSTS):
        scheme = "https" if settings.SECURE else "http"
        if origin == f"{scheme}://{host}":
            return True
    return any(_matches(origin, trusted.lower()) for trusted in settings.CSRF_TRUSTED_ORIGINS)


def _matches(origin: str, trusted: str) -> bool:
    """Return whether it is a trusted origin, or below one with a star, as for forms."""
    if "*" not in trusted:
        return origin == trusted
    try:
        theirs, ours = urlsplit(origin), urlsplit(trusted)
    except ValueError:
        return False
    return theirs.scheme == ours.scheme and is_same_domain(theirs.netloc, ours.netloc.lstrip("*"))


def _text(headers: dict[bytes, bytes], name: bytes) -> str:
    return headers.get(name, b"").decode("latin1").lower()
