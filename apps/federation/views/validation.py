"""The validation set, for administrators: bring scans, put them to use, replace and delete."""

from collections.abc import Callable
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_http_methods, require_POST

from apps.accounts.roles import require
from apps.federation import validations
from apps.federation.api.base import audit_refusal, sent
from apps.federation.models import ValidationSet
from apps.federation.pipeline import incoming, validation
from apps.federation.pipeline.step import Next, Refusal
from apps.federation.tasks import enqueue
from apps.federation.views.page import federation_of_the_page, person, show
from hospintel_core.domain import LEAST_OF_CLASS as LEAST_TO_COMPARE


@require_http_methods(["GET", "HEAD", "POST"])
@require("manage_validation")
def validation_page(request: HttpRequest) -> HttpResponseBase:
    """Show the set in use, the one on its way and earlier ones; take the scans that are sent with the form."""
    federation = federation_of_the_page()
    added, refusal = _add(request) if request.method == "POST" else (None, None)
    context = {
        "federation": federation,
        "sets": validations.of(federation),
        "measured": validations.measured(federation),
        "added": added,
        "refusal": refusal,
        "least": validation.LEAST_OF_CLASS,
        "most": validation.MOST_SCANS,
        "to_compare": LEAST_TO_COMPARE,
        "most_bytes": incoming.MOST_BYTES,
    }
    return show(request, "validation", context)


def _add(request: HttpRequest) -> tuple[incoming.Added | None, Refusal | None]:
    federation, user = federation_of_the_page(), person(request)
    try:
        label = incoming.label_of(federation.classes, request.POST.get("class_name", ""))
        return validation.add(user, federation, sent(request), label=label)[1], None
    except Refusal as refusal:
        audit_refusal(refusal, request, user)
        return None, refusal


@require_POST
@require("manage_validation")
def validation_verb(request: HttpRequest, set_id: UUID, verb: str) -> HttpResponseBase:
    """Put a set to use, or delete it."""
    if verb not in VERBS:
        raise Http404
    found = get_object_or_404(ValidationSet, pk=set_id, federation=federation_of_the_page())
    step, done = VERBS[verb]
    try:
        enqueue(step(found, person(request).actor))
        messages.success(request, done)
    except Refusal as refusal:
        audit_refusal(refusal, request, person(request))
        messages.error(request, refusal.detail)
    return redirect("validation")


def _use(found: ValidationSet, actor: str) -> list[Next]:
    return validation.use(found, actor=actor)


def _delete(found: ValidationSet, actor: str) -> list[Next]:
    validation.delete(found, actor=actor)
    return []


VERBS: dict[str, tuple[Callable[[ValidationSet, str], list[Next]], str]] = {
    "use": (_use, "A worker prepares the scans. Then versions are measured with them."),
    "delete": (_delete, "The validation set and its scans are deleted."),
}
