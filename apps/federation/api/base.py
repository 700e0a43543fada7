"""What the agents' calls share: who calls, and one shape for every refusal, which is audited here."""

import logging
import re
from datetime import timedelta
from typing import Any, cast

from django.contrib.auth.models import AnonymousUser
from django.core.files.uploadedfile import UploadedFile
from django.db import DatabaseError, OperationalError
from django.http import HttpRequest, JsonResponse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.decorators.csrf import csrf_exempt
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import APIException
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.authentication import PEOPLE
from apps.accounts.models import User
from apps.audit.api import deny
from apps.federation.models import Agent, Federation
from apps.federation.pipeline.enrol import secret_hash
from apps.federation.pipeline.step import Refusal
from apps.federation.states import AgentState
from hospintel_site.callers import client_address, method_of

logger = logging.getLogger(__name__)
HEARTBEAT_SECONDS = 5
_VERSION = re.compile(r"[0-9A-Za-z.+-]{1,40}")


def find_agent(authorization: str) -> Agent:
    """Return the agent whose token is in an Authorization header.

    Raises:
        Refusal: `token_missing`, `token_invalid` (401) or `agent_revoked` (403).
    """
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Refusal("token_missing", "This call needs an agent's token.", 401)
    agent = Agent.objects.select_related("hospital").filter(token_hash=secret_hash(token.strip())).first()
    if agent is None:
        raise Refusal("token_invalid", "This token is not known here.", 401)
    if agent.state != AgentState.ACTIVE:
        raise Refusal("agent_revoked", "This agent has been revoked by the hub's admin.", 403)
    return agent


def heartbeat(agent: Agent, request: HttpRequest | Request) -> bool:
    """Note that the agent is there, at most every few seconds. Returns whether it was news."""
    version = request.headers.get("X-Hospintel-Version", "")
    if agent.last_seen is not None and agent.last_seen >= timezone.now() - timedelta(seconds=HEARTBEAT_SECONDS):
        return False
    # A header that the token's holder chose: what is shown to people is of a fixed alphabet.
    return note_seen(agent, version=version if _VERSION.fullmatch(version) else agent.version)


def note_seen(agent: Agent, **more: str) -> bool:
    """Note that the agent is there now, with `more` of its row. Returns whether that could be written."""
    try:
        Agent.objects.filter(pk=agent.pk).update(last_seen=timezone.now(), **more)
    except OperationalError:
        # A full disk, say: whether the call itself can be answered is for the call to find out.
        logger.exception("agent %s could not be noted as seen", agent.pk)
        return False
    return True


def federation_of(agent: Agent, slug: str) -> Federation:
    """Return a federation in which the agent's hospital takes part.

    Raises:
        Refusal: `federation_unknown` (404), whether it exists or not.
    """
    federation = Federation.objects.filter(pk=slug, participations__hospital=agent.hospital_id).first()
    if federation is None:
        raise Refusal("federation_unknown", "This agent takes part in no federation of that name.", 404)
    return federation


def audit_refusal(refusal: Refusal, request: HttpRequest | Request, caller: Agent | User | None) -> None:
    """Write the denial of a call, unless the pipeline has recorded it with the object it concerns."""
    if refusal.recorded:
        return
    try:
        deny(
            f"{method_of(request)} {route_of(request)}"[:60],
            code=refusal.code,
            actor=caller.actor if caller else "unknown",
            address=client_address(request),
            visibility=caller.hospital.visibility if isinstance(caller, Agent) else "admin",
        )
    except DatabaseError:
        # The caller still gets the answer: a full disk is one of the things that are refused.
        logger.exception("The refusal %s of a call could not be written to the audit", refusal.code)


def route_of(request: HttpRequest | Request) -> str:
    """Return the name of the called route: a label of a fixed set, not a path that a stranger chose."""
    match = request.resolver_match
    return (match.url_name or "?") if match else "?"


def refusal_body(refusal: Refusal) -> dict[str, object]:
    """Return the JSON that the caller gets."""
    return {"code": refusal.public_code, "detail": refusal.detail, **refusal.extra}


def sent(request: Any) -> list[tuple[str, Any]]:
    """Return the files of a form as (name, content). Raises Refusal(bad_request, 400) where there is none."""
    files = [file for file in request.FILES.getlist("file") if isinstance(file, UploadedFile)]
    if not files:
        raise Refusal("bad_request", "Send the scans as the multipart field `file`.", 400)
    return [(file.name or "", file.file) for file in files]


def refusal_json(refusal: Refusal) -> JsonResponse:
    """Return the answer of an asynchronous view."""
    return JsonResponse(refusal_body(refusal), status=refusal.status)


class AgentAuthentication(BaseAuthentication):
    """`Authorization: Bearer <token>`; `request.auth` is the Agent. The token reads, the key writes."""

    def authenticate(self, request: Request) -> tuple[AnonymousUser, Agent] | None:
        """Return the agent, or None where there is no Authorization header."""
        header = request.headers.get("Authorization", "")
        if not header:
            return None
        agent = find_agent(header)
        heartbeat(agent, request)
        return AnonymousUser(), agent

    def authenticate_header(self, request: Request) -> str:  # noqa: ARG002 - DRF's signature
        """Return what a 401 says is wanted."""
        return "Bearer"


class IsAgent(BasePermission):
    """Open to enrolled agents that are not revoked."""

    def has_permission(self, request: Request, view: APIView) -> bool:  # noqa: ARG002 - DRF's signature
        """Return whether an agent calls."""
        if not isinstance(request.auth, Agent):
            raise Refusal("token_missing", "This call needs an agent's token.", 401)
        return True


class HubView(APIView):
    """A call whose refusals are audited and answered as {"code", "detail"}."""

    authentication_classes: Any = []

    def handle_exception(self, exc: Exception) -> Response:
        """Answer and audit a refusal, whether it is ours or the framework's (a malformed body, a missing right)."""
        if isinstance(exc, Refusal):
            audit_refusal(exc, self.request, self._caller())
            return Response(refusal_body(exc), status=exc.status)
        answer = super().handle_exception(exc)
        refusal = Refusal(answer.data["code"], answer.data["detail"], answer.status_code)
        audit_refusal(refusal, self.request, self._caller())
        return answer

    def _caller(self) -> Agent | User | None:
        try:
            auth: object = self.request.auth
            user: object = self.request.user
        except (Refusal, APIException):
            # Asking who calls is what was refused.
            return None
        if isinstance(auth, Agent):
            return auth
        return user if isinstance(user, User) else None


class PersonView(HubView):
    """A call that people make, signed in or by token; `permission_classes` say who of them."""

    authentication_classes = PEOPLE

    @property
    def user(self) -> User:
        """Return who calls."""
        return cast("User", self.request.user)


# Agents carry no cookies: there is nothing for a forged cross-site request to ride on.
@method_decorator(csrf_exempt, name="dispatch")
class AgentView(HubView):
    """A call that only enrolled agents may make."""

    authentication_classes = [AgentAuthentication]
    permission_classes = [IsAgent]

    @property
    def agent(self) -> Agent:
        """Return the calling agent."""
        return cast("Agent", self.request.auth)
