"""Decide about versions: `/api/v1/models/<id>/{publish,reject,rollback}`."""

from uuid import UUID

from django.http import Http404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.federation.api.base import PersonView
from apps.federation.api.shapes import VersionAnswer, person_refusals
from apps.federation.models import ModelVersion
from apps.federation.permissions import allowed
from apps.federation.pipeline.decide import DECISIONS, decide
from apps.federation.tasks import enqueue


class DecisionRequest(serializers.Serializer[None]):
    """Why; kept with the version's verdict. A rejection needs one."""

    reason = serializers.CharField(required=False, allow_blank=True, default="", max_length=200)


class DecideView(PersonView):
    """Publish or reject a held version, or publish an old one again."""

    permission_classes = [allowed("review_models")]

    @extend_schema(
        tags=["Admins"],
        parameters=[OpenApiParameter("verb", str, OpenApiParameter.PATH, enum=["publish", "reject", "rollback"])],
        request=DecisionRequest,
        responses={
            200: VersionAnswer,
            **person_refusals(
                {
                    400: "bad_request reason_long reason_missing",
                    403: "own_version",
                    404: "not_found",
                    409: "version_state version_current version_race",
                }
            ),
        },
    )
    def post(self, request: Request, version_id: UUID, verb: str) -> Response:
        """Publish or reject a held version that is not your own, or bring an old one back under a new number."""
        version = ModelVersion.objects.filter(pk=version_id).first()
        if version is None or verb not in DECISIONS:
            raise Http404
        asked = DecisionRequest(data=request.data)
        asked.is_valid(raise_exception=True)
        actor = self.user.actor
        decided, following = decide(version, verb, actor=actor, reason=asked.validated_data["reason"])
        enqueue(following)
        answer = {name: getattr(decided, name) for name in ("number", "state", "digest", "verdict")}
        return Response({"id": str(decided.pk), **answer})
