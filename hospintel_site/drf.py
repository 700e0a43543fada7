"""What every API view shares: one shape for every error: {"code", "detail"}."""

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import exception_handler as rest_exception_handler

from apps.audit.api import Conflict
from hospintel_core.errors import CoreError


def error(code: str, detail: str, status: int, **more: object) -> Response:
    """One JSON error. `code` is stable and meant for programs, `detail` is a sentence for people."""
    return Response({"code": code, "detail": detail, **more}, status=status)


def exception_handler(raised: Exception, context: dict[str, Any]) -> Response | None:
    """Turn what a view raised into {"code", "detail"}; None (a 500) for anything unexpected."""
    if isinstance(raised, CoreError):
        return error(raised.code, raised.detail, 400)
    if isinstance(raised, Conflict):
        return error("conflict", str(raised), 409)
    response = rest_exception_handler(raised, context)
    if response is None:
        return None
    code, detail = _code_and_detail(raised)
    response.data = {"code": code, "detail": detail}
    return response


def _code_and_detail(raised: Exception) -> tuple[str, str]:
    if isinstance(raised, Http404):
        return "not_found", "Not found."
    if isinstance(raised, PermissionDenied):
        return "permission_denied", "You may not do this."
    if isinstance(raised, exceptions.ValidationError):
        return "bad_request", _first_problem(raised.detail)
    if isinstance(raised, exceptions.APIException):
        codes = raised.get_codes()
        return (codes if isinstance(codes, str) else "error"), _first_problem(raised.detail)
    return "error", "The request failed."


def _first_problem(detail: object, field: str = "") -> str:
    if isinstance(detail, dict) and detail:
        name, inner = next(iter(detail.items()))
        return _first_problem(inner, "" if name == "non_field_errors" else str(name))
    if isinstance(detail, list) and detail:
        return _first_problem(detail[0], field)
    return f"{field}: {detail}" if field else str(detail)
