"""`GET /api/v1/models/<id>/model.h5`: a published version as a whole Keras model, an older one too."""

from http import HTTPStatus
from uuid import UUID

from asgiref.sync import sync_to_async
from django.db import close_old_connections
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET
from drf_spectacular.utils import extend_schema

from apps.accounts.authentication import PEOPLE
from apps.accounts.models import User
from apps.accounts.roles import may
from apps.federation.api.base import audit_refusal, refusal_json
from apps.federation.api.files import serve
from apps.federation.api.models import FILE, RANGES, caller_of, record_download
from apps.federation.models import Agent, ModelVersion
from apps.federation.pipeline import model_files
from apps.federation.pipeline.membership import require_member
from apps.federation.pipeline.objects import Stored
from apps.federation.pipeline.step import Next, Refusal
from apps.federation.states import VersionState
from apps.federation.tasks import enqueue
from hospintel_site.callers import asks_for_pages
from hospintel_site.openapi import in_schema, refusals

RETRY_AFTER = 5
NOT_WRITTEN = "The worker is writing this version as a file. Ask again in a moment."


def _find(request: HttpRequest, version_id: UUID) -> tuple[Stored, ModelVersion, str]:
    caller: Agent | User | None = None
    try:
        caller = caller_of(request)
        if not isinstance(caller, User) or not may(caller, "get_model"):
            raise Refusal("permission_denied", "Files of versions are for doctors and admins.", 403)
        version = ModelVersion.objects.select_related("federation").filter(pk=version_id).first()
        if version is None:
            raise Refusal("model_unknown", "There is no such model.", 404)
        require_member(caller, version.federation)
        if version.state != VersionState.PUBLISHED:
            raise Refusal("version_state", "Only published versions are written as files.", 409)
        found = model_files.checked(version.digest)
        if model_files.ask(version.digest):
            enqueue([Next("write_model", version.pk)])
        if found is None:
            raise Refusal("model_not_written", NOT_WRITTEN, 503)
        record_download(request, caller, version)
    except Refusal as refusal:
        # That it is not written yet is told to nobody but who asks.
        if refusal.status != HTTPStatus.SERVICE_UNAVAILABLE:
            audit_refusal(refusal, request, caller)
        raise
    finally:
        close_old_connections()
    return found[0], version, found[1].sha256


def _refused(request: HttpRequest, version_id: UUID, refusal: Refusal) -> HttpResponseBase:
    """Answer a program; or a browser, whose page asks again by itself until the download begins."""
    waits = refusal.status == HTTPStatus.SERVICE_UNAVAILABLE
    later = {"Retry-After": str(RETRY_AFTER)} if waits else {}
    if request.path.startswith("/api/") or not asks_for_pages(request):
        answer: HttpResponse = refusal_json(refusal)
    else:
        later |= {"Refresh": str(RETRY_AFTER)} if waits else {}
        context = {"detail": refusal.detail, "waits": waits, "version_id": version_id, "seconds": RETRY_AFTER}
        answer = render(request, "federation/file_refused.html", context, status=refusal.status)
    for name, value in later.items():
        answer.headers[name] = value
    return answer


@in_schema(
    extend_schema(
        tags=["Model"],
        parameters=RANGES,
        responses={
            **FILE,
            **refusals(
                {
                    401: "login_required token_invalid",
                    403: "permission_denied not_a_member agent_revoked",
                    404: "model_unknown",
                    409: "version_state",
                    503: "model_not_written models_waiting storage_away",
                }
            ),
        },
    ),
    [*PEOPLE],
)
@csrf_exempt
@require_GET
async def version_file(request: HttpRequest, version_id: UUID) -> HttpResponseBase:
    """Serve a published version as a whole Keras model; 503 and Retry-After until the worker has written it.

    The file of an older version is written when somebody asks for it, and kept for a week after that; of the older ones
    the last five. Its bytes are checked before they are served, and `Repr-Digest` (RFC 9530) is their SHA-256.
    """
    try:
        stored, version, sha256 = await sync_to_async(_find)(request, version_id)
    except Refusal as refusal:
        return await sync_to_async(_refused)(request, version_id, refusal)
    kind, name = "application/octet-stream", f"version-{version.number}.h5"
    return serve(request, stored, digest=version.digest, content_type=kind, filename=name, sha256=sha256)
