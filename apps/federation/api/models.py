"""`GET /api/v1/models/<digest>` (the head, for agents) and `GET /model` (the whole Keras model)."""

import time
from typing import Any

from asgiref.sync import sync_to_async
from django.db import close_old_connections
from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema

from apps.accounts.authentication import PEOPLE, TokenInvalid
from apps.accounts.models import User
from apps.accounts.pipeline import tokens
from apps.accounts.roles import may
from apps.audit.api import record, transaction
from apps.audit.models import AuditEntry
from apps.federation.api.base import AgentAuthentication, audit_refusal, find_agent, heartbeat, refusal_json
from apps.federation.api.files import serve
from apps.federation.api.shapes import DIGEST, agent_refusals
from apps.federation.models import Agent, Federation, ModelVersion
from apps.federation.pipeline import model_files, storage
from apps.federation.pipeline.bootstrap import DEFAULT_SLUG
from apps.federation.pipeline.membership import require_member
from apps.federation.pipeline.objects import Stored
from apps.federation.pipeline.step import Next, Refusal
from apps.federation.tasks import enqueue
from hospintel_site.callers import client_address
from hospintel_site.openapi import in_schema, refusals

RETRY_AFTER = "2"
DOWNLOAD, DOWNLOAD_SECONDS = "version.download", 60
_BYTES = "application/octet-stream"
# What files.serve answers, for the OpenAPI document.
FILE: dict[Any, Any] = {
    (200, _BYTES): OpenApiTypes.BINARY,
    (206, _BYTES): OpenApiTypes.BINARY,
    304: OpenApiResponse(description="Nothing: it is here."),
    **refusals({416: "range_unsatisfiable"}),
}
# Both downloads go on where they were cut off.
RANGES = [
    OpenApiParameter("Range", str, OpenApiParameter.HEADER, description="One range of bytes: answered by 206, or 416."),
    OpenApiParameter("If-Range", str, OpenApiParameter.HEADER, description="The ETag for which the range holds."),
    OpenApiParameter("If-None-Match", str, OpenApiParameter.HEADER, description="An ETag that is here: 304."),
]


def _head(request: HttpRequest, digest: str) -> Stored:
    agent: Agent | None = None
    try:
        agent = find_agent(request.headers.get("Authorization", ""))
        heartbeat(agent, request)
        known = ModelVersion.objects.filter(digest=digest, federation__participations__hospital=agent.hospital_id)
        stored = storage.find_head(digest) if known.exists() else None
        if stored is None:
            raise Refusal("model_unknown", "There is no such model.", 404)
    except Refusal as refusal:
        audit_refusal(refusal, request, agent)
        raise
    finally:
        close_old_connections()
    return stored


@in_schema(
    extend_schema(
        tags=["Agents"],
        parameters=[OpenApiParameter("digest", str, OpenApiParameter.PATH, description=DIGEST), *RANGES],
        responses={**FILE, **agent_refusals({404: "model_unknown", 503: "storage_away"})},
    ),
    [AgentAuthentication],
)
@csrf_exempt
@require_GET
async def head(request: HttpRequest, digest: str) -> HttpResponseBase:
    """Serve a head as safetensors, resumable; its address is its digest, so it never changes."""
    try:
        stored = await sync_to_async(_head)(request, digest)
    except Refusal as refusal:
        return refusal_json(refusal)
    return serve(
        request,
        stored,
        digest=digest,
        content_type="application/octet-stream",
        filename=f"{digest[:12]}.safetensors",
        immutable=True,
    )


def caller_of(request: HttpRequest) -> Agent | User:
    """Agents by token; people by theirs, or by session."""
    header = request.headers.get("Authorization", "")
    if tokens.is_persons(header):
        token = tokens.find(header)
        if token is None:
            raise Refusal("token_invalid", str(TokenInvalid.default_detail), 401)
        return token.user
    if header:
        return find_agent(header)
    if not isinstance(request.user, User):
        raise Refusal("login_required", "Sign in, or send a token.", 401)
    return request.user


def _current(caller: Agent | User, slug: str) -> ModelVersion:
    """Return the current version of a federation, for its hospitals' agents and doctors, and for admins."""
    if isinstance(caller, User) and not may(caller, "get_model"):
        raise Refusal("permission_denied", "The model is for agents, doctors and admins.", 403)
    federations = Federation.objects.select_related("current").filter(pk=slug)
    if isinstance(caller, Agent):
        federations = federations.filter(participations__hospital=caller.hospital_id)
    federation = federations.first()
    if federation is None or federation.current is None:
        raise Refusal("model_unknown", "There is no such model.", 404)
    if isinstance(caller, User):
        require_member(caller, federation)
    return federation.current


def _model(request: HttpRequest, slug: str) -> tuple[Stored, str, str] | None:
    caller: Agent | User | None = None
    try:
        caller = caller_of(request)
        version = _current(caller, slug)
        found = model_files.checked(version.digest)
        if found is None:
            if model_files.want(version.digest):
                enqueue([Next("write_model", version.pk)])
            return None
        record_download(request, caller, version)
    except Refusal as refusal:
        audit_refusal(refusal, request, caller)
        raise
    finally:
        close_old_connections()
    return found[0], version.digest, found[1].sha256


def record_download(request: HttpRequest, caller: Agent | User, version: ModelVersion) -> None:
    """Record who takes the model along: once, however many pieces or repetitions of a minute that takes."""
    if f'"{version.digest}"' in request.headers.get("If-None-Match", ""):
        return
    since = int((time.time() - DOWNLOAD_SECONDS) * 1e6)
    recent = AuditEntry.objects.filter(actor=caller.actor, action=DOWNLOAD, object=f"version:{version.pk}")
    if recent.filter(ts_us__gte=since).exists():
        return
    visibility = caller.hospital.visibility if isinstance(caller, Agent) else "admin"
    with transaction():
        record(DOWNLOAD, actor=caller.actor, obj=version, visibility=visibility, address=client_address(request))


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
                    503: "model_not_written storage_away",
                }
            ),
        },
    ),
    [*PEOPLE, AgentAuthentication],
)
@csrf_exempt
@require_GET
async def global_model(request: HttpRequest, slug: str = DEFAULT_SLUG) -> HttpResponseBase:
    """Serve the current version as a whole Keras model; 503 and Retry-After until the worker has written it.

    Its bytes are checked before they are served. `Repr-Digest` (RFC 9530) is their SHA-256; the ETag names the head.
    """
    try:
        found = await sync_to_async(_model)(request, slug)
    except Refusal as refusal:
        return refusal_json(refusal)
    if found is None:
        body = {"code": "model_not_written", "detail": "The worker is writing the model. Ask again in a moment."}
        return JsonResponse(body, status=503, headers={"Retry-After": RETRY_AFTER})
    stored, digest, sha256 = found
    kind = "application/octet-stream"
    return serve(request, stored, digest=digest, content_type=kind, filename="global_model.h5", sha256=sha256)
