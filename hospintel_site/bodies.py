"""Request bodies that lie on the disk are handed to the application piece by piece.

Daphne reads a body into the application's queue as soon as the request is there: whole, whatever its size. Django then
writes it to a temporary file of its own.
"""

import errno
import json
import logging
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import IO, Any, BinaryIO

logger = logging.getLogger(__name__)

PIECE = 64 * 1024
# Under this name the server puts the body into the scope.
KEY = "hospintel.body"
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
FULL_CODE = "hub_disk_full"
FULL_DETAIL = "The hub's disk is full. Its admin has to make room; try again later."


@contextmanager
def room(otherwise: Callable[[], object]) -> Iterator[None]:
    """Do what takes room in the folder for temporary files; where its disk has none, say so and call `otherwise`."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        logger.error("The disk of the folder for temporary files is full")  # noqa: TRY400 - the sentence says it all
        otherwise()


def drop(content: IO[bytes] | None) -> None:
    """Close a body that nobody will read; what a full disk still keeps in the file's buffer goes with it."""
    try:
        if content is not None:
            content.close()
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise


def piecewise(application: Any) -> Any:
    """Return the application with a `receive` that reads the body in the scope, where there is one, as it is asked.

    A body for which the disk has no room is answered with 507: nothing of the application has begun by then.
    """

    async def run(scope: Message, receive: Receive, send: Any) -> Any:
        body = scope.pop(KEY, None)
        if body is None:
            return await application(scope, receive, send)
        try:
            return await application(scope, _reading(body, receive), send)
        except OSError as error:
            # Django's views answer their own: what comes here was raised before one was asked.
            if error.errno not in DISK_FULL:
                raise
        logger.error("The disk of the folder for temporary files is full")
        return await _answer_full(send)

    return run


async def _answer_full(send: Any) -> None:
    headers = [(b"Content-Type", b"application/json"), (b"Connection", b"close")]
    await send({"type": "http.response.start", "status": HTTPStatus.INSUFFICIENT_STORAGE, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps({"code": FULL_CODE, "detail": FULL_DETAIL}).encode()})


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
