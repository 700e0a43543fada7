"""HTTP to the hub's real views."""

import json
from typing import Any

from asgiref.sync import async_to_sync
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.test.client import ClientHandler

# Loading the middleware means looking at every static file: once a process is enough.
_HANDLERS = {checks: ClientHandler(enforce_csrf_checks=checks) for checks in (False, True)}


class HubClient(Client):
    """Django's test client, with the bodies our callers send."""

    def __init__(self, enforce_csrf_checks: bool = False, **options: Any) -> None:
        super().__init__(enforce_csrf_checks, **options)
        self.handler = _HANDLERS[enforce_csrf_checks]

    def put_bytes(self, path: str, body: bytes, **options: Any) -> Any:
        """PUT raw bytes."""
        return self.put(path, body, content_type="application/octet-stream", **options)

    def post_json(self, path: str, body: object, **options: Any) -> Any:
        """POST JSON; text is sent as it is."""
        text = body if isinstance(body, str) else json.dumps(body)
        return self.post(path, text, content_type="application/json", **options)

    def post_file(self, path: str, content: bytes, *, field: str = "file", **options: Any) -> Any:
        """POST one file as multipart."""
        return self.post(path, {field: SimpleUploadedFile("update.hspu", content)}, **options)


def body(answer: Any) -> bytes:
    """The whole body, streamed or not."""
    if not answer.streaming:
        content: bytes = answer.content
        return content

    async def collect() -> bytes:
        return b"".join([chunk async for chunk in answer.streaming_content])

    return async_to_sync(collect)()
