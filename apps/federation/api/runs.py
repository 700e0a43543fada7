"""Start and steer runs: `/api/v1/federations/<slug>/runs`."""

from uuid import UUID

from django.http import Http404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.federation.api.base import PersonView
from apps.federation.api.shapes import RunAnswer, person_refusals
from apps.federation.models import Federation, Run
from apps.federation.permissions import allowed
from apps.federation.pipeline import runs
from apps.federation.tasks import enqueue


class RunRequest(serializers.Serializer[None]):
    """How many rounds, and what differs from the federation's plan."""

    rounds = serializers.IntegerField(help_text="How many published rounds are wanted: 1 to 1000.")
    plan = serializers.DictField(
        required=False,
        default=dict,
        help_text="What differs from the federation's plan: epochs, batch_size, learning_rate, seed, mirror.",
    )


def _answer(run: Run) -> dict[str, object]:
    return {"id": str(run.pk), "rounds": run.rounds, "state": run.state, "plan": run.plan}


class RunsView(PersonView):
    """The runs of a federation."""

    permission_classes = [allowed("steer_runs")]

    @extend_schema(
        tags=["Admins"],
        request=RunRequest,
        responses={
            201: RunAnswer,
            **person_refusals(
                {
                    400: "bad_request rounds_range plan_field plan_range plan_unknown_field",
                    404: "not_found",
                    409: "run_active",
                }
            ),
        },
    )
    def post(self, request: Request, slug: str) -> Response:
        """Start a run: a round opens as soon as enough agents are online."""
        federation = Federation.objects.filter(pk=slug).first()
        if federation is None:
            raise Http404
        asked = RunRequest(data=request.data)
        asked.is_valid(raise_exception=True)
        run, following = runs.start_run(
            federation,
            rounds=asked.validated_data["rounds"],
            plan=asked.validated_data["plan"],
            actor=self.user.actor,
        )
        enqueue(following)
        return Response(_answer(run), status=201)


class SteerView(PersonView):
    """Pause, resume or abort a run."""

    permission_classes = [allowed("steer_runs")]

    @extend_schema(
        operation_id="steer_run",
        tags=["Admins"],
        parameters=[OpenApiParameter("verb", str, OpenApiParameter.PATH, enum=sorted(runs.STEERING))],
        request=None,
        responses={200: RunAnswer, **person_refusals({404: "not_found", 409: "run_state"})},
    )
    def post(self, request: Request, slug: str, run_id: UUID, verb: str) -> Response:  # noqa: ARG002 - DRF's signature
        """Pause, resume or abort a run."""
        run = Run.objects.select_related("federation").filter(pk=run_id, federation=slug).first()
        if run is None or verb not in runs.STEERING:
            raise Http404
        enqueue(runs.STEERING[verb](run, actor=self.user.actor))
        return Response(_answer(run))
