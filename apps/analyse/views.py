"""The page that reads one scan, and what it fetches. The scan itself is never sent here by the page."""

import re
from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any, Concatenate
from uuid import UUID

from csp.decorators import csp_update
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from apps.accounts.roles import require
from apps.analyse.models import Reading
from apps.analyse.pipeline import ask
from apps.analyse.pipeline.sealed import OVERHEAD
from apps.analyse.queries import described
from apps.analyse.tasks import have_scan_read
from apps.federation.api.base import audit_refusal, refusal_json
from apps.federation.api.files import serve
from apps.federation.models import HubKey
from apps.federation.pipeline import keys
from apps.federation.pipeline.export_model import Export, find_file, want_export
from apps.federation.pipeline.membership import NOT_A_MEMBER, is_member, require_member
from apps.federation.pipeline.step import Next, Refusal
from apps.federation.tasks import enqueue
from apps.federation.views.page import federation_of_the_page, person
from hospintel_site.callers import client_address
from hospintel_site.wasm import WASM

RETRY_AFTER = "2"
_DIGEST = re.compile(r"[0-9a-f]{64}")
View = Callable[Concatenate[HttpRequest, ...], HttpResponseBase]


def for_members(view: View) -> View:
    """Guard what the page fetches and sends: as `require("analyse")`, and only for people whose hospital takes part."""

    @wraps(view)
    @require("analyse")
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            require_member(person(request), federation_of_the_page())
        except Refusal as refusal:
            audit_refusal(refusal, request, person(request))
            return refusal_json(refusal)
        return view(request, *args, **kwargs)

    return guarded


@csp_update({"script-src": [WASM]})  # type: ignore[untyped-decorator] # django-csp is not followed
@require_safe
@require("analyse")
def page(request: HttpRequest) -> HttpResponseBase:
    """Show where a scan is dropped, and which version will read it; who belongs to no hospital is told what to do."""
    if not is_member(person(request), federation_of_the_page()):
        return render(request, "analyse/page.html", {"closed": NOT_A_MEMBER})
    key = keys.active_key(HubKey.Kind.RSA)
    return render(request, "analyse/page.html", {"version": federation_of_the_page().current, "key": key})


@require_safe
@for_members
def model(request: HttpRequest) -> HttpResponseBase:  # noqa: ARG001 - Django's signature
    """Say which version is current and where its files lie; 503 and Retry-After until the worker has written them."""
    version = federation_of_the_page().current
    if version is None:
        return JsonResponse({"code": "model_unknown", "detail": "The hub has no model yet."}, status=404)
    export = Export.of(version.digest)
    if export is None:
        if want_export(version.digest):
            enqueue([Next("export_model", version.pk)])
        body = {"code": "model_not_written", "detail": "The worker is writing the model. Ask again in a moment."}
        return JsonResponse(body, status=503, headers={"Retry-After": RETRY_AFTER})
    return JsonResponse(described(version, export))


@require_safe
@for_members
def file(request: HttpRequest, digest: str) -> HttpResponseBase:
    """Serve a base or a head by its SHA-256: an address that never changes what it answers."""
    stored = find_file(digest) if _DIGEST.fullmatch(digest) else None
    if stored is None:
        return JsonResponse({"code": "model_unknown", "detail": "There is no such file."}, status=404)
    return serve(
        request,
        stored,
        digest=digest,
        content_type="application/octet-stream",
        filename=f"{digest[:12]}.safetensors",
        immutable=True,
    )


@require_POST
@for_members
def ask_hub(request: HttpRequest) -> HttpResponseBase:
    """Take a scan that the page sealed for the hub's worker, and say where its answer will be."""
    user = person(request)
    try:
        # Django's own limit for what is read into memory is for forms; the server's, by path, has been applied.
        data = request.read(ask.MOST_BYTES + OVERHEAD + 1)
        reading = ask.ask(user, data, kid=request.GET.get("kid", ""), address=client_address(request))
    except Refusal as refusal:
        audit_refusal(refusal, request, user)
        return refusal_json(refusal)
    have_scan_read(reading.pk)
    return JsonResponse({"url": reverse("analyse-answer", args=[reading.pk])}, status=202)


@require_safe
@for_members
def answer(request: HttpRequest, reading_id: UUID) -> HttpResponseBase:
    """Give who asked the sealed answer; 202 until it is there."""
    reading = get_object_or_404(Reading, pk=reading_id, user=person(request))
    if reading.answer is None:
        if reading.created_at < timezone.now() - timedelta(seconds=ask.PATIENCE_SECONDS):
            return refusal_json(Refusal("reading_lost", "The hub did not get to this scan. Send it again.", 503))
        return JsonResponse({}, status=202, headers={"Retry-After": "1"})
    if not reading.answer:
        return refusal_json(
            Refusal("scan_sealed_wrong", "What arrived is not a scan that was sealed for this hub.", 422)
        )
    return HttpResponse(bytes(reading.answer), content_type="application/octet-stream")
