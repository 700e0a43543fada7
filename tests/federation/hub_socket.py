"""A browser's socket to the hub."""

from channels.testing import WebsocketCommunicator
from django.conf import settings
from hub_client import HubClient

from hospintel_site.asgi import application


def socket_of(user, origin=b"http://localhost", client=None):
    """The socket of a page that a person has open, in a session of its own or in a client's."""
    headers = [(b"host", b"localhost"), (b"origin", origin)]
    if user is not None:
        if client is None:
            client = HubClient()
            client.force_login(user)
        session = client.cookies[settings.SESSION_COOKIE_NAME]
        headers.append((b"cookie", f"{settings.SESSION_COOKIE_NAME}={session.value}".encode()))
    return WebsocketCommunicator(application, "/ws/events/", headers=headers)
