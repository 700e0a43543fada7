"""Static files from the checkout and the installed packages, in async mode."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import BinaryIO

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from whitenoise.middleware import WhiteNoiseMiddleware

_BLOCK = 256 * 1024


class StaticFilesMiddleware(WhiteNoiseMiddleware):  # type: ignore[misc]
    """WhiteNoise that also runs in async mode.

    WhiteNoise 6.12 is synchronous: under ASGI it would hold one thread for each waiting long poll, and Django would
    read each file whole (whitenoise#531).
    """

    async_capable = True
    sync_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]) -> None:
        super().__init__(get_response)
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Answer with the static file at the request's path, else what the next in line answers."""
        if self._is_async:
            return self._answer(request)
        response: HttpResponseBase = super().__call__(request)
        return response

    async def _answer(self, request: HttpRequest) -> HttpResponseBase:
        found = self.find_file(request.path_info) if self.autorefresh else self.files.get(request.path_info)
        if found is None:
            response: HttpResponseBase = await self.get_response(request)
            return response
        answer = found.get_response(request.method, request.META)
        status = int(answer.status)
        made: HttpResponseBase = (
            HttpResponse(status=status)
            if answer.file is None
            else StreamingHttpResponse(_blocks(answer.file), status=status)
        )
        del made["Content-Type"]
        for key, value in answer.headers:
            made[key] = value
        return made


async def _blocks(file: BinaryIO) -> AsyncIterator[bytes]:
    try:
        while block := await sync_to_async(file.read, thread_sensitive=False)(_BLOCK):
            yield block
    finally:
        file.close()
