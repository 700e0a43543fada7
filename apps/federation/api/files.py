"""One way to serve a file: async iterator, ETag, If-None-Match, Range, If-Range (RFC 9110)."""

import asyncio
import re
from base64 import b64encode
from collections.abc import AsyncIterator

from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from apps.federation.pipeline.objects import Stored

CHUNK = 256 * 1024
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def _span(header: str, size: int) -> tuple[int, int] | None:
    """Return first and last byte of a single range, None where it cannot be satisfied."""
    match = _RANGE.fullmatch(header.strip())
    if match is None or match.groups() == ("", ""):
        return 0, size - 1
    first, last = match.groups()
    if not first:
        return (max(0, size - int(last)), size - 1) if int(last) else None
    if int(first) >= size:
        return None
    end = min(int(last), size - 1) if last else size - 1
    return (int(first), end) if end >= int(first) else (0, size - 1)


async def _read(stored: Stored, first: int, length: int) -> AsyncIterator[bytes]:
    handle = await asyncio.to_thread(stored.open, first)
    try:
        while length > 0:
            chunk = await asyncio.to_thread(handle.read, min(CHUNK, length))
            if not chunk:
                return
            length -= len(chunk)
            yield chunk
    finally:
        await asyncio.to_thread(handle.close)


def serve(
    request: HttpRequest,
    stored: Stored,
    *,
    digest: str,
    content_type: str,
    filename: str,
    immutable: bool = False,
    sha256: str = "",
) -> HttpResponseBase:
    """Serve a file whose content `digest` names.

    Args:
        request: its Range, If-Range and If-None-Match headers are honoured; of several ranges the file is sent whole.
        stored: the file, as it was found.
        digest: the strong ETag.
        content_type: the media type.
        filename: what a browser saves it as.
        immutable: whether this address will always answer these bytes.
        sha256: of the whole file in hex, where it is known: the caller is told it, to check what came.
    """
    etag = f'"{digest}"'
    size = stored.size
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, max-age=31536000, immutable" if immutable else "private, no-cache",
        "Content-Disposition": f'attachment; filename="{filename}"',
    }
    if sha256:
        headers["Repr-Digest"] = f"sha-256=:{b64encode(bytes.fromhex(sha256)).decode()}:"
    if etag in request.headers.get("If-None-Match", ""):
        return HttpResponse(status=304, headers=headers)
    wanted = request.headers.get("Range")
    if wanted and request.headers.get("If-Range", etag) == etag:
        span = _span(wanted, size)
        if span is None:
            body = {"code": "range_unsatisfiable", "detail": f"The file has {size} bytes."}
            return JsonResponse(body, status=416, headers={"ETag": etag, "Content-Range": f"bytes */{size}"})
        first, last = span
    else:
        wanted, first, last = None, 0, size - 1
    partial = wanted is not None and (first, last) != (0, size - 1)
    if partial:
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    headers["Content-Length"] = str(last - first + 1)
    return StreamingHttpResponse(
        _read(stored, first, last - first + 1),
        status=206 if partial else 200,
        headers=headers,
        content_type=content_type,
    )
