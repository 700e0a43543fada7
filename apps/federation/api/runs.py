"""Start and steer runs: `/api/v1/federations/<slug>/runs`."""

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
from apps.federation.models import Federation, Run
from apps.federation.permissions import allowed
from apps.federation.pipeline import runs
from apps.federation.tasks import enqueue

STEERING = {"pause": runs.pause, "resume": runs.resume, "abort": runs.abort}


class RunRequest(serializers.Serializer[None]):
    """How many rounds, and what differs from the federation's plan."""

    rounds = serializers.IntegerField()
    plan = serializers.DictField(required=False, default=dict)


def _answer(run: Run) -> dict[str, object]:
    return {"id": str(run.pk), "rounds": run.rounds, "state": run.state, "plan": run.plan}


class RunsView(HubView):
    """The runs of a federation."""

    authentication_classes = [SessionAuthentication]
    permission_classes = [allowed("steer_runs")]

    @extend_schema(request=RunRequest, responses={201: OpenApiTypes.OBJECT})
    def post(self, request: Request, slug: str) -> Response:
        """Start a run."""
        federation = Federation.objects.filter(pk=slug).first()
        if federation is None:
            raise Http404
        asked = RunRequest(data=request.data)
        asked.is_valid(raise_exception=True)
        run, following = runs.start_run(
            federation,
            rounds=asked.validated_data["rounds"],
            plan=asked.validated_data["plan"],
            actor=cast("User", request.user).actor,
        )
        enqueue(following)
        return Response(_answer(run), status=201)


class SteerView(HubView):
    """Pause, resume or abort a run."""

    authentication_classes = [SessionAuthentication]
    permission_classes = [allowed("steer_runs")]

    @extend_schema(operation_id="steer_run", request=None, responses=OpenApiTypes.OBJECT)
    def post(self, request: Request, slug: str, run_id: UUID, verb: str) -> Response:
        """Do it."""
        run = Run.objects.select_related("federation").filter(pk=run_id, federation=slug).first()
        if run is None or verb not in STEERING:
            raise Http404
        enqueue(STEERING[verb](run, actor=cast("User", request.user).actor))
        return Response(_answer(run))
