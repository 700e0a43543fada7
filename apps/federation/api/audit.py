"""`GET /api/v1/audit/checkpoints?after=<seq>`: what the hub has signed, to be kept elsewhere."""

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request

from apps.audit import checkpoints
from apps.federation.api.base import PersonView
from apps.federation.api.events import number_of
from apps.federation.api.shapes import person_refusals
from apps.federation.permissions import allowed

MOST = 1000
_LINES = "application/x-ndjson"


class CheckpointsView(PersonView):
    """Signed checkpoints of the audit as lines of JSON (docs/audit.md), oldest first."""

    permission_classes = [allowed("check_audit")]

    @extend_schema(
        tags=["Admins"],
        parameters=[
            OpenApiParameter(
                "after",
                int,
                description="The entry of the caller's last checkpoint; without it, the newest.",
            )
        ],
        responses={(200, _LINES): OpenApiTypes.STR, **person_refusals()},
    )
    def get(self, request: Request) -> HttpResponse:
        """Answer with at most 1,000 checkpoints: the next ones beyond an entry, or the newest."""
        text = request.query_params.get("after")
        found = checkpoints.newest_notes(MOST) if text is None else checkpoints.notes(number_of(text), MOST)
        lines = "".join(note.to_line() + "\n" for note in found)
        return HttpResponse(lines, content_type=_LINES, headers={"Cache-Control": "no-store"})
