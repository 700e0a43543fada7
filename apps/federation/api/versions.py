"""Decide about versions: `/api/v1/models/<id>/{publish,reject,rollback}`."""

from typing import cast
from uuid import UUID

from django.http import Http404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.authentication import SessionAuthentication
from rest_framework.request import Request
from rest_framework.response import Response

from apps.accounts.models import User
from apps.federation.api.base import HubView
from apps.federation.models import ModelVersion
from apps.federation.permissions import allowed
from apps.federation.pipeline.review import publish_held, reject
from apps.federation.pipeline.rollback import rollback
from apps.federation.pipeline.step import Next
from apps.federation.tasks import enqueue


class DecisionRequest(serializers.Serializer[None]):
    """Why; kept with the version's verdict."""

    reason = serializers.CharField(required=False, allow_blank=True, default="", max_length=200)


class DecideView(HubView):
    """Publish or reject a held version, or publish an old one again."""

    authentication_classes = [SessionAuthentication]
    permission_classes = [allowed("review_models")]

    @extend_schema(request=DecisionRequest, responses=OpenApiTypes.OBJECT)
    def post(self, request: Request, version_id: UUID, verb: str) -> Response:
        """Do it, and answer with the version: for a rollback, the new one."""
        version = ModelVersion.objects.filter(pk=version_id).first()
        if version is None or verb not in {"publish", "reject", "rollback"}:
            raise Http404
        asked = DecisionRequest(data=request.data)
        asked.is_valid(raise_exception=True)
        decided, following = _decide(version, verb, cast("User", request.user).actor, asked.validated_data["reason"])
        enqueue(following)
        answer = {name: getattr(decided, name) for name in ("number", "state", "digest", "verdict")}
        return Response({"id": str(decided.pk), **answer})


def _decide(version: ModelVersion, verb: str, actor: str, reason: str) -> tuple[ModelVersion, list[Next]]:
    if verb == "rollback":
        return rollback(version, actor=actor, reason=reason)
    act = publish_held if verb == "publish" else reject
    return version, act(version, actor=actor, reason=reason)
