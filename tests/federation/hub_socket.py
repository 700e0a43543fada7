"""A browser's socket to the hub."""

from channels.testing import WebsocketCommunicator
from django.conf import settings
from hub_client import HubClient

from hospintel_site.asgi import application


def socket_of(user, origin=b"http://localhost"):
    headers = [(b"host", b"localhost"), (b"origin", origin)]
    if user is not None:
        client = HubClient()
        client.force_login(user)
        session = client.cookies[settings.SESSION_COOKIE_NAME]
        headers.append((b"cookie", f"{settings.SESSION_COOKIE_NAME}={session.value}".encode()))
    return WebsocketCommunicator(application, "/ws/events/", headers=headers)
