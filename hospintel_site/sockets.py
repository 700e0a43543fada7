"""The web server's WebSockets: what comes in is short, what goes out is as long as it is."""

from typing import Any

from daphne.ws_protocol import WebSocketFactory, WebSocketProtocol

from hospintel_site.limits import OPEN_SECONDS, SOCKET_BYTES

# As Daphne's server names them.
SOCKET_LIMITS = {
    "websocket_max_message_size": SOCKET_BYTES,
    "websocket_max_frame_size": SOCKET_BYTES,
    "websocket_connect_timeout": OPEN_SECONDS,
    # Of the browser's part, which is here when a socket begins: what it waits for is us. Daphne's 5 s would reset who
    # comes last of many at once, and the tries that follow make the crowd larger.
    "websocket_handshake_timeout": 0,
}


class HubSocket(WebSocketProtocol):  # type: ignore[misc] # Daphne ships no types
    """A socket whose limit is for what arrives: autobahn has one for both ways, and would close over a longer batch."""

    maxMessagePayloadSize: int  # noqa: N815 - autobahn's name; set from the factory's

    def sendMessage(self, *args: Any, **kwargs: Any) -> None:  # noqa: N802 - autobahn's name
        """Send a message, however long."""
        # Nothing arrives meanwhile: both happen in the reactor's thread.
        limit, self.maxMessagePayloadSize = self.maxMessagePayloadSize, 0
        try:
            super().sendMessage(*args, **kwargs)
        finally:
            self.maxMessagePayloadSize = limit


class HubSocketFactory(WebSocketFactory):  # type: ignore[misc] # as above
    """Builds sockets of this hub."""

    protocol = HubSocket
