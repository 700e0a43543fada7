"""`PUT, GET /api/v1/rounds/<id>/update` (in parts) and `POST /update` (one multipart body)."""

import hashlib
import re
from http import HTTPStatus
from typing import Any
from uuid import UUID

from django.core.files.uploadedfile import UploadedFile
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.parsers import BaseParser, MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from apps.federation.api.base import AgentView
from apps.federation.api.shapes import DIGEST, OwnUpdate, OwnUpdateLookup, PartReceived, UpdateAccepted, agent_refusals
from apps.federation.live import wait_in_thread, wait_of
from apps.federation.models import Agent, Round, Update
from apps.federation.pipeline import parts, receive, storage
from apps.federation.pipeline.open_round import max_body
from apps.federation.pipeline.step import Refusal
from apps.federation.states import UpdateState
from apps.federation.tasks import enqueue
from hospintel_core.envelope import MAX_SIZE
from hospintel_core.failpoints import reach

NO_ROUND = UUID(int=0)

PART_BYTES = 4 * 1024 * 1024
_DIGEST = re.compile(r"[0-9a-f]{64}")
REFUSED_TEXT = "The update was refused."
# Why an update is not taken, whole or in parts.
NOT_TAKEN = {
    404: "round_unknown",
    409: "round_closed not_needed not_selected update_exists upload_busy replayed",
    413: "body_too_large",
    422: "update_refused " + " ".join(receive.HEADER_TEXTS),
    429: "too_many_attempts",
    503: "storage_away",
    507: "hub_disk_full",
}


class OctetParser(BaseParser):
    """Leaves the body alone: the view reads it from the stream."""

    media_type = "*/*"

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> dict[str, Any]:  # noqa: ARG002
        """Return nothing."""
        return {}


def _whole_number(text: str | None, name: str) -> int:
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 12:  # noqa: PLR2004 - 12 digits are enough
        raise Refusal("bad_request", f"{name} must be a whole number.", 400)
    return int(text)


def _digest_of(text: str | None) -> str:
    if text is None or not _DIGEST.fullmatch(text):
        raise Refusal("bad_request", "Upload-Digest must be the SHA-256 of the sealed update in hex.", 400)
    return text


def _state_of(update: Update) -> dict[str, object]:
    """Return what the agent is told about its own update: the audit's code, one text for all crypto refusals."""
    crypto = update.code.startswith(("envelope_", "ciphertext_"))
    code = "update_refused" if crypto else update.code
    texts = receive.HEADER_TEXTS | receive.UNUSED_TEXTS
    detail = texts.get(update.code, REFUSED_TEXT if update.code else "")
    return {"state": update.state, "code": code, "detail": detail}


class UpdatePartView(AgentView):
    """An agent's own update to a round, uploaded in parts of at most 4 MiB."""

    parser_classes = [OctetParser]

    @extend_schema(
        request={"application/octet-stream": OpenApiTypes.BINARY},
        parameters=[
            OpenApiParameter("offset", int, required=True, description="Where this part begins."),
            OpenApiParameter(
                "Upload-Length", int, OpenApiParameter.HEADER, required=True, description="Bytes of the whole update."
            ),
            OpenApiParameter("Upload-Digest", str, OpenApiParameter.HEADER, required=True, description=DIGEST),
        ],
        tags=["Agents"],
        responses={
            200: PartReceived,
            202: OwnUpdate,
            **agent_refusals(
                {
                    **NOT_TAKEN,
                    400: "bad_request",
                    409: f"{NOT_TAKEN[409]} offset_mismatch",
                    422: f"{NOT_TAKEN[422]} digest_mismatch wrong_round",
                }
            ),
        },
    )
    def put(self, request: Request, round_id: UUID) -> Response:
        """Take one part of an update; the last one completes it and answers 202.

        The same bytes again get the same answer. An `offset_mismatch` says in `received` where to go on.
        """
        round_ = receive.round_for(self.agent, round_id)
        digest = _digest_of(request.headers.get("Upload-Digest"))
        length = _whole_number(request.headers.get("Upload-Length"), "Upload-Length")
        offset = _whole_number(request.query_params.get("offset"), "offset")
        known = receive.admit(self.agent, round_, digest)
        if known is not None:
            return Response({**_state_of(known), "received": known.size}, status=202)
        if not 0 < length <= max_body(round_.run.federation):
            raise Refusal("body_too_large", "An update to this round cannot be that large.", 413)
        upload = parts.Upload(round_.pk, self.agent.pk, digest)
        received = _add(upload, offset=offset, length=length, request=request)
        if received < length:
            return Response({"received": received})
        update = _complete(self.agent, upload, length)
        return Response({**_state_of(update), "received": length}, status=202)

    @extend_schema(
        tags=["Agents"],
        parameters=[
            OpenApiParameter("digest", str, description=f"Of the upload in question; else the newest. {DIGEST}"),
            OpenApiParameter("wait", float, description="Seconds: answer as soon as the update has been inspected."),
        ],
        responses={200: OwnUpdateLookup, **agent_refusals({400: "bad_request", 404: "round_unknown"})},
    )
    def get(self, request: Request, round_id: UUID) -> Response:
        """Tell what became of the agent's update, and how much of an unfinished upload is here."""
        if round_id == NO_ROUND:
            # An agent asks so whether its token works: an answer, not a denial.
            raise Refusal("round_unknown", "There is no such round.", 404, recorded=True)
        round_ = receive.round_for(self.agent, round_id)
        digest = request.query_params.get("digest")
        update = _newest(self.agent, round_, digest)
        wait = wait_of(request.query_params.get("wait"))
        if update is not None and update.state == UpdateState.RECEIVED and wait:
            wait_in_thread(f"update:{update.pk}", lambda: _is_decided(update), wait)
            round_.refresh_from_db(fields=["state", "reason"])
        received = update.size if update else 0
        if update is None and digest:
            received = parts.Upload(round_.pk, self.agent.pk, _digest_of(digest)).received()
        state = _state_of(update) if update else _without(round_)
        left = receive.attempts_left(self.agent, round_)
        about = {"round_state": round_.state, "round_reason": round_.reason}
        return Response({**state, "received": received, "attempts_left": left, **about})


def _without(round_: Round) -> dict[str, object]:
    """Return what an agent is told that has no update in the round; nothing while it may still send one."""
    code = "not_needed" if round_.is_full else ""
    return {"state": None, "code": code, "detail": receive.UNUSED_TEXTS.get(code, "")}


def _newest(agent: Agent, round_: Round, digest: str | None) -> Update | None:
    own = Update.objects.filter(round=round_, agent=agent)
    return (own.filter(digest=digest) if digest else own).order_by("-received_at").first()


def _is_decided(update: Update) -> bool:
    update.refresh_from_db(fields=["state", "code"])
    return update.state != UpdateState.RECEIVED


def _add(upload: parts.Upload, *, offset: int, length: int, request: Request) -> int:
    """Take one part. Returns how many bytes are here now."""
    body = request.read(PART_BYTES + 1)
    if len(body) > PART_BYTES or offset + len(body) > length:
        raise Refusal("body_too_large", "A part has at most 4 MiB and stays within Upload-Length.", 413)
    try:
        return upload.add(body, offset)
    except OSError as error:
        raise storage.disk_refusal(error) from error


def _complete(agent: Agent, upload: parts.Upload, length: int) -> Update:
    """Hand a finished upload to the pipeline; its parts stay where it cannot be stored, to be asked for again."""
    reach("upload.whole")
    whole = upload.whole(length)
    try:
        update = _hand_over(agent, whole, upload.digest, upload.round_id)
    except Refusal as refusal:
        if refusal.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            upload.forget()
        raise
    upload.forget()
    return update


def _hand_over(agent: Agent, whole: bytes, digest: str, round_id: UUID | None = None) -> Update:
    try:
        update, following = receive.receive(agent, whole, digest, round_id=round_id)
    except OSError as error:
        raise storage.disk_refusal(error) from error
    enqueue(following)
    return update


class UpdateView(AgentView):
    """A whole sealed update in one multipart body."""

    parser_classes = [MultiPartParser]

    @extend_schema(
        tags=["Agents"],
        request={
            "multipart/form-data": {
                "type": "object",
                "properties": {
                    "file": {"type": "string", "format": "binary", "description": "The whole sealed update."}
                },
                "required": ["file"],
            }
        },
        responses={200: UpdateAccepted, **agent_refusals({**NOT_TAKEN, 400: "bad_request"})},
    )
    def post(self, request: Request) -> Response:
        """Take a whole update in one multipart body."""
        file = request.FILES.get("file")
        if not isinstance(file, UploadedFile):
            raise Refusal("bad_request", "Send the sealed update as the multipart field `file`.", 400)
        if (file.size or 0) > MAX_SIZE:
            raise Refusal("body_too_large", "No update is that large.", 413)
        whole = file.read()
        update = _hand_over(self.agent, whole, hashlib.sha256(whole).hexdigest())
        if update.state == UpdateState.REFUSED:
            # The same bytes were sent before.
            told = _state_of(update)
            raise Refusal(update.code, str(told["detail"]), 422, public_code=str(told["code"]), recorded=True)
        return Response({"status": "accepted", "message": "Update received. It is inspected before it counts."})
