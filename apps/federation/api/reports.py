"""`POST /api/v1/rounds/<id>/report`: the signed answer to an `evaluate` task."""

import base64
import binascii
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.federation.api.base import AgentView
from apps.federation.api.shapes import Recorded, agent_refusals
from apps.federation.pipeline import evaluate, receive
from apps.federation.pipeline.step import Refusal
from apps.federation.tasks import enqueue


class ReportRequest(serializers.Serializer[None]):
    """Canonical JSON and its signature."""

    body = serializers.CharField(max_length=20_000, trim_whitespace=False, help_text="Exactly what is signed.")
    signature = serializers.CharField(max_length=128, help_text="Ed25519, base64.")


class ReportView(AgentView):
    """What an agent measured with the version that came of a round."""

    @extend_schema(
        tags=["Agents"],
        request=ReportRequest,
        responses={
            200: Recorded,
            **agent_refusals(
                {
                    400: "bad_request",
                    404: "round_unknown",
                    409: "round_closed report_exists",
                    422: "report_refused",
                }
            ),
        },
    )
    def post(self, request: Request, round_id: UUID) -> Response:
        """Keep what the agent measured on the version that came of the round."""
        asked = ReportRequest(data=request.data)
        asked.is_valid(raise_exception=True)
        round_ = receive.round_for(self.agent, round_id)
        try:
            signature = base64.b64decode(asked.validated_data["signature"], validate=True)
        except (binascii.Error, ValueError) as error:
            raise Refusal("bad_request", "The signature is not base64.", 400) from error
        body = asked.validated_data["body"].encode()
        enqueue(evaluate.receive_report(self.agent, round_, body=body, signature=signature))
        return Response({"state": "recorded"})
