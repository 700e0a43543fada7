"""Asking again who it is: the form that was sent is kept in the page, and carried out with the answer.

Nothing is kept at the hub, and nothing leads elsewhere: the page sends the same form to the same address once more.
"""

from http import HTTPStatus

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

from apps.accounts.forms import ConfirmForm
from apps.accounts.models import User
from apps.accounts.pipeline import AccountError, Locked, confirm, sessions
from apps.accounts.roles import page_of
from apps.audit.api import deny
from hospintel_site.callers import client_address

NOT_KEPT = frozenset({"csrfmiddlewaretoken", ConfirmForm.NAME})


def confirmed(request: HttpRequest, user: User, doing: str) -> HttpResponse | None:
    """Return the page that asks; None where the form brings the right answer, and may be carried out."""
    form = ConfirmForm(request.POST if ConfirmForm.NAME in request.POST else None)
    if not form.is_valid():
        return _page(request, form, doing)
    try:
        confirm(user, form.cleaned_data[ConfirmForm.NAME], address=client_address(request))
    except Locked as locked:
        form.add_error(ConfirmForm.NAME, locked.detail)
        answer = _page(request, form, doing, HTTPStatus.TOO_MANY_REQUESTS)
        answer.headers["Retry-After"] = str(locked.retry_after)
        return answer
    except AccountError as error:
        form.add_error(ConfirmForm.NAME, error.detail)
        return _page(request, form, doing)
    sessions.note_proof(request.session)
    return None


def refuse_unproven(request: HttpRequest, user: User, doing: str) -> JsonResponse:
    """Answer a program that rides on a browser's session, and record it."""
    match = request.resolver_match
    action = f"{request.method} {match.view_name if match else '?'}"[:60]
    deny(action, code="confirm_needed", actor=user.actor, address=client_address(request))
    detail = f"To {doing}, confirm on a page that it is you, or use a token."
    return JsonResponse({"code": "confirm_needed", "detail": detail}, status=HTTPStatus.FORBIDDEN)


def _page(request: HttpRequest, form: ConfirmForm, doing: str, status: int = HTTPStatus.OK) -> HttpResponse:
    kept = [(name, value) for name, values in request.POST.lists() if name not in NOT_KEPT for value in values]
    # Asked a second time, the page before is this one, which only takes forms.
    back = page_of(request)
    context = {
        "form": form,
        "doing": doing,
        "kept": kept,
        "back": "/" if back.partition("?")[0] == request.path else back,
        "address": request.get_full_path(),
    }
    return render(request, "accounts/confirm.html", context, status=status)
