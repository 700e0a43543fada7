"""The answers to requests that no view takes: JSON for programs, a page for people, and nothing of the inside."""

import sys
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.core.exceptions import TooManyFilesSent
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string

from hospintel_site import database
from hospintel_site.bodies import FULL_CODE, FULL_DETAIL
from hospintel_site.callers import asks_for_pages
from hospintel_site.uploads import NoRoomError

AWAY_SECONDS = "5"
STORAGE_AWAY = "storage_away"
_TEXTS = {
    400: ("bad_request", "The request cannot be understood."),
    403: ("permission_denied", "You may not do this."),
    404: ("not_found", "Not found."),
    507: (FULL_CODE, FULL_DETAIL),
    500: ("internal_error", "Something went wrong on our side. It has been logged."),
}
_AWAY = {
    STORAGE_AWAY: "The hub's storage does not answer now. Nothing is lost; try again in a moment.",
    database.AWAY: "The hub's database does not answer now. Nothing is lost; try again in a moment.",
}


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Answer 400; to who sent too many files at a time, with how many may come; 507 where the disk is full."""
    if isinstance(exception, NoRoomError):
        return _answer(request, HTTPStatus.INSUFFICIENT_STORAGE)
    if isinstance(exception, TooManyFilesSent):
        most = settings.DATA_UPLOAD_MAX_NUMBER_FILES
        return _answer(request, 400, f"At most {most} files come at a time; a zip file holds more.")
    return _answer(request, 400)


def permission_denied(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:  # noqa: ARG001
    """Answer 403."""
    return _answer(request, 403)


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:  # noqa: ARG001
    """Answer 404."""
    return _answer(request, 404)


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer 500; 503 where what failed is the database, in a view or on the way to it, so that callers come back."""
    return away(request, database.AWAY) if database.is_away(sys.exception()) else _answer(request, 500)


def away(request: HttpRequest, code: str) -> HttpResponse:
    """Answer 503 where storage or database cannot be reached; with a page to browsers alone: programs call the root."""
    answer = _answer(request, 503, _AWAY[code], code)
    answer.headers["Retry-After"] = AWAY_SECONDS
    return answer


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:  # noqa: ARG001 - Django's signature
    """Answer 403 to a form whose token is missing or old."""
    return _answer(request, 403, "This form has expired. Go back, reload the page and send it again.")


def _answer(request: HttpRequest, status: int, detail: str = "", code: str = "") -> HttpResponse:
    if not code:
        code, text = _TEXTS[status]
        detail = detail or text
    if request.path.startswith("/api/") or not asks_for_pages(request):
        return JsonResponse({"code": code, "detail": detail}, status=status)
    context: dict[str, Any] = {"status": status, "detail": detail}
    # Without the request, whose user would be read from a database that may be what has failed.
    page = render_to_string("error.html", context, None if status >= HTTPStatus.INTERNAL_SERVER_ERROR else request)
    return HttpResponse(page, status=status)
