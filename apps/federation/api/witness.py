"""`POST /api/v1/federations/<slug>/checkpoint`: an agent shows the last checkpoint that it saw, and gets the newest."""

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.audit import checkpoints
from apps.federation.api.base import AgentView, federation_of
from apps.federation.api.shapes import agent_refusals
from apps.federation.pipeline import witness
from apps.federation.pipeline.step import Refusal
from hospintel_core.checkpoint import Note

LINE = "A checkpoint as a line of JSON (docs/audit.md)"


class KeptCheckpoint(serializers.Serializer[None]):
    """What the agent has seen."""

    kept = serializers.CharField(
        max_length=2000, allow_blank=True, trim_whitespace=False, help_text=f"{LINE}; empty where it has none."
    )


class ComparedCheckpoint(serializers.Serializer[None]):
    """What the hub says to that."""

    state = serializers.ChoiceField(
        [witness.HOLDS, witness.BEHIND, witness.FORKED],
        help_text="`holds`; `audit_behind`: the audit ends before; `audit_forked`: it says something else there.",
    )
    newest = serializers.CharField(allow_blank=True, help_text=f"{LINE}; empty where none is signed yet.")


class WitnessView(AgentView):
    """Whether the audit still says what an agent saw of it."""

    @extend_schema(
        tags=["Agents"],
        request=KeptCheckpoint,
        responses={
            200: ComparedCheckpoint,
            **agent_refusals({400: "bad_request", 404: "federation_unknown", 422: "checkpoint_unknown"}),
        },
    )
    def post(self, request: Request, slug: str) -> Response:
        """Compare the agent's checkpoint with the audit; a contradiction is recorded and shown to administrators."""
        federation_of(self.agent, slug)
        asked = KeptCheckpoint(data=request.data)
        asked.is_valid(raise_exception=True)
        line = asked.validated_data["kept"]
        state = witness.compare(self.agent, _note(line)) if line else witness.HOLDS
        newest = checkpoints.newest()
        return Response({"state": state, "newest": newest.to_line() if newest else ""})


def _note(line: str) -> Note:
    try:
        return Note.from_line(line)
    except ValueError as error:
        raise Refusal("bad_request", "This line is no checkpoint.", 400) from error
