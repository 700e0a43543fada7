"""`POST /api/v1/agents/enrol`."""

import base64
import binascii

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from apps.federation.api.base import HubView
from apps.federation.pipeline import enrol, keys
from apps.federation.pipeline.step import Refusal
from hospintel_core import signing
from hospintel_site.openapi import refusals


class EnrolRequest(serializers.Serializer[None]):
    """What an agent sends once."""

    code = serializers.CharField(max_length=200, help_text="The one-time code that an admin issued.")
    public_key = serializers.CharField(max_length=64, help_text="Ed25519, 32 raw bytes in base64.")
    proof = serializers.CharField(max_length=128, help_text="That key's signature over hash of code and key, base64.")
    agent_version = serializers.CharField(max_length=40, required=False, default="")


class EnrolAnswer(serializers.Serializer[None]):
    """What it gets once."""

    agent_id = serializers.UUIDField()
    token = serializers.CharField(help_text="For the Authorization header; the hub keeps its hash alone.")
    hospital = serializers.CharField()
    federations = serializers.ListField(child=serializers.CharField(), help_text="In which the hospital takes part.")
    hub_identity = serializers.CharField(help_text="Ed25519, 32 raw bytes in base64.")
    hub_fingerprint = serializers.CharField(help_text="The same for people to compare.")


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refusal("bad_request", "A field is not base64.", 400) from error


class EnrolView(HubView):
    """Enrol an agent with a one-time code."""

    permission_classes = [AllowAny]

    @extend_schema(
        tags=["Agents"],
        request=EnrolRequest,
        responses={
            201: EnrolAnswer,
            **refusals({400: "bad_request proof_invalid", 403: "code_unknown code_used code_expired"}),
        },
    )
    def post(self, request: Request) -> Response:
        """Consume the code and answer with the agent's id, its token and the hub's identity."""
        asked = EnrolRequest(data=request.data)
        asked.is_valid(raise_exception=True)
        fields = asked.validated_data
        enrolled = enrol.enrol(
            code=fields["code"],
            public_key=_bytes(fields["public_key"]),
            proof=_bytes(fields["proof"]),
            agent_version=fields["agent_version"],
        )
        identity = keys.identity_public()
        answer = {
            "agent_id": str(enrolled.agent.pk),
            "token": enrolled.token,
            "hospital": enrolled.agent.hospital.name,
            "federations": enrolled.federations,
            "hub_identity": base64.b64encode(signing.public_raw(identity)).decode(),
            "hub_fingerprint": signing.fingerprint(identity),
        }
        return Response(answer, status=201)
