"""`GET /status`, `GET /public_key`, `GET /api/v1/identity`."""

from django.http import Http404, HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.federation.api.shapes import Identity, Status
from apps.federation.models import Federation, HubKey
from apps.federation.pipeline import keys
from apps.federation.pipeline.bootstrap import DEFAULT_SLUG
from apps.federation.queries import situation, status
from hospintel_site.openapi import refusals


class StatusView(APIView):
    """Where the federation stands."""

    authentication_classes = []
    permission_classes = [AllowAny]

    @extend_schema(tags=["Everyone"], responses={200: Status, **refusals({404: "not_found"})})
    def get(self, request: Request, slug: str = DEFAULT_SLUG) -> Response:  # noqa: ARG002 - DRF's signature
        """Answer with round, updates, agents online, state, deadline and version."""
        federation = Federation.objects.select_related("current").filter(pk=slug).first()
        if federation is None:
            raise Http404
        return Response(status(situation(federation)))


class PublicKeyView(APIView):
    """The RSA key to which updates are sealed."""

    authentication_classes = []
    permission_classes = [AllowAny]

    @extend_schema(tags=["Everyone"], responses={(200, "application/x-pem-file"): OpenApiTypes.STR})
    def get(self, request: Request) -> HttpResponse:  # noqa: ARG002 - DRF's signature
        """Answer with the RSA key in use, as PEM."""
        return HttpResponse(keys.active_key(HubKey.Kind.RSA).public_pem, content_type="application/x-pem-file")


class IdentityView(APIView):
    """The hub's identity and those that it replaced, each signed by the one before."""

    authentication_classes = []
    permission_classes = [AllowAny]

    @extend_schema(tags=["Everyone"], responses=Identity)
    def get(self, request: Request) -> Response:  # noqa: ARG002 - DRF's signature
        """Answer with the hub's identities, newest first, each signed by the one before it.

        An agent that pinned one of them can follow to the newest.
        """
        return Response({"chain": [link.to_wire() for link in keys.identity_chain()]})
