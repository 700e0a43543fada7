"""`/api/v1/lease`: who may fine-tune now."""

from typing import cast

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response

from apps.accounts.authentication import PEOPLE
from apps.accounts.models import User
from apps.federation.api.base import HubView
from apps.federation.api.shapes import person_refusals
from apps.federation.permissions import allowed
from apps.finetune.api.shapes import LeaseAnswer, lease_answer
from apps.finetune.pipeline import lease as pipeline


class LeaseView(HubView):
    """The lease of the federation."""

    authentication_classes = PEOPLE

    def get_permissions(self) -> list[BasePermission]:
        """Looking is open to everybody who is signed in, and the pipeline knows who may end which."""
        return [(allowed("fine_tune") if self.request.method == "POST" else allowed("see_dashboard"))()]

    @extend_schema(tags=["Workbench"], responses={200: LeaseAnswer, **person_refusals()})
    def get(self, request: Request) -> Response:
        """Answer with who has the lease, since when and until when."""
        return self._answer(request)

    @extend_schema(
        tags=["Workbench"], request=None, responses={200: LeaseAnswer, **person_refusals({409: "lease_held"})}
    )
    def post(self, request: Request) -> Response:
        """Take the lease, or let one's own last on."""
        pipeline.take(cast("User", request.user))
        return self._answer(request)

    @extend_schema(tags=["Workbench"], responses={204: None, **person_refusals({409: "lease_lost"})})
    def delete(self, request: Request) -> HttpResponse:
        """Give the lease back; an admin may end anybody's."""
        pipeline.give_back(cast("User", request.user), pipeline.default_federation())
        return Response(status=204)

    def _answer(self, request: Request) -> Response:
        lease = pipeline.current(pipeline.default_federation())
        return Response(lease_answer(lease, cast("User", request.user)))
