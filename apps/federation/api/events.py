"""`GET /api/v1/events?after=<seq>`: the audit as a feed, for pages without a socket."""

from typing import cast

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.authentication import PEOPLE
from apps.accounts.models import User
from apps.audit.api import events_after
from apps.federation.api.shapes import Events, person_refusals
from apps.federation.permissions import allowed
from apps.federation.visibility import visibilities


def number_of(text: str) -> int:
    """Return the number of an entry from what a caller wrote; 0 for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0  # noqa: PLR2004 - fits 64 bits


class EventsView(APIView):
    """Audit and round events that this person may see, oldest first."""

    authentication_classes = PEOPLE
    permission_classes = [allowed("see_events")]

    @extend_schema(
        tags=["People"],
        parameters=[
            OpenApiParameter("after", int, description="The last number that the caller has; 0 for the start.")
        ],
        responses={200: Events, **person_refusals()},
    )
    def get(self, request: Request) -> Response:
        """Answer with the events after a number, as far as this person may see them."""
        after = number_of(request.query_params.get("after", "0"))
        return Response({"events": events_after(after, visibilities=visibilities(cast("User", request.user)))})
