"""The web process: HTTP and WebSocket."""

import os

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hospintel_site.settings")

# First: it loads the applications, which the consumers below import from.
http = get_asgi_application()

from apps.federation.routing import websocket_urlpatterns  # noqa: E402 - see above
from hospintel_site.accounting import accounted  # noqa: E402
from hospintel_site.origins import SameOriginOnly  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": accounted(http),
        "websocket": SameOriginOnly(AuthMiddlewareStack(URLRouter(websocket_urlpatterns))),
    }
)
