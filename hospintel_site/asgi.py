"""The web process: HTTP and WebSocket."""

import os
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hospintel_site.settings")

# First: it loads the applications, which the consumers below import from.
http = get_asgi_application()


def _websocket_routes() -> list[Any]:
    if not (find_spec("apps.federation") and find_spec("apps.federation.routing")):
        return []
    routes: list[Any] = import_module("apps.federation.routing").websocket_urlpatterns
    return routes


application = ProtocolTypeRouter(
    {
        "http": http,
        "websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(_websocket_routes()))),
    }
)
