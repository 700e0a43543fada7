"""Request bodies that lie on the disk are handed to the application piece by piece.

Daphne reads a body into the application's queue as soon as the request is there: whole, whatever its size.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, BinaryIO

PIECE = 64 * 1024
# Under this name the server puts the body into the scope.
KEY = "hospintel.body"
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]


def piecewise(application: Any) -> Any:
    """Return the application with a `receive` that reads the body in the scope, where there is one, as it is asked."""

    async def run(scope: Message, receive: Receive, send: Any) -> Any:
        body = scope.pop(KEY, None)
        return await application(scope, receive if body is None else _reading(body, receive), send)

    return run


def _reading(body: BinaryIO, receive: Receive) -> Receive:
    """Read the body, then say what the server says; a body that was closed belongs to a caller who is gone."""
    more = True

    async def next_message() -> Message:
        nonlocal more
        if more and body.closed:
            return {"type": "http.disconnect"}
        if more:
            piece = body.read(PIECE)
            more = len(piece) == PIECE
            return {"type": "http.request", "body": piece, "more_body": more}
        message = await receive()
        # The empty one that stands for the body.
        return message if message["type"] != "http.request" else await receive()

    return next_message
