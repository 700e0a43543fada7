"""`/api/v1/lease`: who may fine-tune now."""

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response

from apps.federation.api.base import PersonView
from apps.federation.api.shapes import person_refusals
from apps.federation.permissions import allowed
from apps.finetune.api.shapes import LeaseAnswer, lease_answer
from apps.finetune.pipeline import lease as pipeline


class LeaseView(PersonView):
    """The lease of the federation."""

    def get_permissions(self) -> list[BasePermission]:
        """Looking is open to everybody who is signed in, and the pipeline knows who may end which."""
        return [(allowed("fine_tune") if self.request.method == "POST" else allowed("see_dashboard"))()]

    @extend_schema(tags=["Workbench"], responses={200: LeaseAnswer, **person_refusals()})
    def get(self, request: Request) -> Response:  # noqa: ARG002 - DRF's signature
        """Answer with who has the lease, since when and until when."""
        return self._answer()

    @extend_schema(
        tags=["Workbench"],
        request=None,
        responses={200: LeaseAnswer, **person_refusals({403: "not_a_member", 409: "lease_held"})},
    )
    def post(self, request: Request) -> Response:  # noqa: ARG002 - DRF's signature
        """Take the lease, or let one's own last on."""
        pipeline.take(self.user)
        return self._answer()

    @extend_schema(tags=["Workbench"], responses={204: None, **person_refusals({409: "lease_lost"})})
    def delete(self, request: Request) -> HttpResponse:  # noqa: ARG002 - DRF's signature
        """Give the lease back; an admin may end anybody's."""
        pipeline.give_back(self.user, pipeline.default_federation())
        return Response(status=204)

    def _answer(self) -> Response:
        lease = pipeline.current(pipeline.default_federation())
        return Response(lease_answer(lease, self.user))
