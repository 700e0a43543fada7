"""The answers to requests that no view takes: JSON for programs, a page for people, and nothing of the inside."""

from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.core.exceptions import TooManyFilesSent
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string

from hospintel_site.bodies import FULL_CODE, FULL_DETAIL
from hospintel_site.callers import asks_for_pages
from hospintel_site.uploads import NoRoomError

STORAGE_SECONDS = "5"
_TEXTS = {
    400: ("bad_request", "The request cannot be understood."),
    403: ("permission_denied", "You may not do this."),
    404: ("not_found", "Not found."),
    507: (FULL_CODE, FULL_DETAIL),
    503: ("storage_away", "The hub's storage does not answer now. Nothing is lost; try again in a moment."),
    500: ("internal_error", "Something went wrong on our side. It has been logged."),
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
    """Answer 500."""
    return _answer(request, 500)


def storage_away(request: HttpRequest) -> HttpResponse:
    """Answer 503 where the files cannot be reached; with a page to a browser alone: programs call the root as well."""
    answer = _answer(request, 503) if asks_for_pages(request) else _json(503)
    answer.headers["Retry-After"] = STORAGE_SECONDS
    return answer


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:  # noqa: ARG001 - Django's signature
    """Answer 403 to a form whose token is missing or old."""
    return _answer(request, 403, "This form has expired. Go back, reload the page and send it again.")


def _json(status: int, detail: str = "") -> HttpResponse:
    code, text = _TEXTS[status]
    return JsonResponse({"code": code, "detail": detail or text}, status=status)


def _answer(request: HttpRequest, status: int, detail: str = "") -> HttpResponse:
    detail = detail or _TEXTS[status][1]
    if request.path.startswith("/api/") or not asks_for_pages(request):
        return _json(status, detail)
    context: dict[str, Any] = {"status": status, "detail": detail}
    # Without the request, whose user would be read from a database that may be what has failed.
    page = render_to_string("error.html", context, None if status >= HTTPStatus.INTERNAL_SERVER_ERROR else request)
    return HttpResponse(page, status=status)
