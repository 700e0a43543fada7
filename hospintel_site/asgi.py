"""The web process: HTTP and WebSocket."""

import os

import django
from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hospintel_site.settings")

# First: the consumers below import from the applications.
django.setup(set_prefix=False)

from apps.federation.routing import websocket_urlpatterns  # noqa: E402 - see above
from hospintel_site.accounting import accounted  # noqa: E402
from hospintel_site.handler import HubHandler  # noqa: E402
from hospintel_site.origins import SameOriginOnly  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": accounted(HubHandler()),
        "websocket": SameOriginOnly(AuthMiddlewareStack(URLRouter(websocket_urlpatterns))),
    }
)
