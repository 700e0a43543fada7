"""The page that reads one scan, and what it fetches. The scan itself is never sent here by the page."""

import re

from csp.decorators import csp_update
from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_safe

from apps.accounts.roles import require
from apps.analyse.queries import described
from apps.federation.api.files import serve
from apps.federation.pipeline.export_model import Export, file_path, want_export
from apps.federation.pipeline.step import Next
from apps.federation.tasks import enqueue
from apps.federation.views.page import federation_of_the_page
from hospintel_site.wasm import WASM

RETRY_AFTER = "2"
_DIGEST = re.compile(r"[0-9a-f]{64}")


@csp_update({"script-src": [WASM]})  # type: ignore[untyped-decorator] # django-csp is not followed
@require_safe
@require("analyse")
def page(request: HttpRequest) -> HttpResponseBase:
    """Show where a scan is dropped, and which version will read it."""
    return render(request, "analyse/page.html", {"version": federation_of_the_page().current})


@require_safe
@require("analyse")
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
@require("analyse")
def file(request: HttpRequest, digest: str) -> HttpResponseBase:
    """Serve a base or a head by its SHA-256: an address that never changes what it answers."""
    if not _DIGEST.fullmatch(digest) or not file_path(digest).exists():
        return JsonResponse({"code": "model_unknown", "detail": "There is no such file."}, status=404)
    return serve(
        request,
        file_path(digest),
        digest=digest,
        content_type="application/octet-stream",
        filename=f"{digest[:12]}.safetensors",
        immutable=True,
    )
