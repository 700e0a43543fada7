"""`GET /api/v1/federations/<slug>/versions/<a>/compare/<b>`: two versions beside each other, as the page shows them."""

from typing import Any
from uuid import UUID

from django.http import Http404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.federation.api.base import PersonView
from apps.federation.api.shapes import person_refusals
from apps.federation.comparison import Comparison, Gap, beside
from apps.federation.figures import Share, VersionFigures
from apps.federation.models import Federation
from apps.federation.permissions import allowed
from apps.federation.pipeline.membership import is_member
from apps.federation.pipeline.step import Refusal
from apps.federation.versions import versions_of
from apps.federation.visibility import own_hospitals

_ID = "A version's `id`, as `GET /api/v1/federations/{slug}/versions` lists it."


class Measured(serializers.Serializer[None]):
    """What was measured on one version."""

    accuracy = serializers.FloatField(help_text="0 to 1; low and high: its interval of 95 %.")
    low = serializers.FloatField()
    high = serializers.FloatField()
    loss = serializers.FloatField()
    scans = serializers.IntegerField()
    agents = serializers.IntegerField(help_text="0 where the hub measured it.")
    confusion = serializers.ListField(
        child=serializers.ListField(child=serializers.IntegerField()), help_text="Rows are the truth."
    )


class ComparedLine(serializers.Serializer[None]):
    """One share of both versions."""

    name = serializers.CharField(help_text="`Accuracy`, or a class with recall or precision.")
    first = serializers.DictField(allow_null=True, help_text="right, scans, low, high (95 %).")
    second = serializers.DictField(allow_null=True)
    gap = serializers.DictField(
        allow_null=True,
        help_text="change (second less first, -1 to 1), low, high, better, worse; null where nothing may be compared.",
    )


class Compared(serializers.Serializer[None]):
    """A comparison."""

    same = serializers.BooleanField(help_text="Whether the same agents measured both, or the hub on one set.")
    alike = serializers.BooleanField(help_text="Whether they counted as many scans of each class, too.")
    own = serializers.BooleanField(help_text="Whether the agents are those of the caller's hospitals alone.")
    worse_in = serializers.ListField(child=serializers.CharField(), help_text="Classes that are clearly found less.")
    loss_change = serializers.FloatField(allow_null=True)
    first = Measured(allow_null=True)
    second = Measured(allow_null=True)
    lines = ComparedLine(many=True)


class CompareAnswer(serializers.Serializer[None]):
    """Two versions beside each other, as far as the caller may know."""

    finding = serializers.CharField(help_text="How the second stands to the first, in one sentence.")
    by_agents = Compared(help_text="What agents measured.")
    on_hub = Compared(allow_null=True, help_text="On the hub's validation set, where both were measured on one.")


class CompareView(PersonView):
    """The comparison of two versions, for people of the federation's hospitals."""

    permission_classes = [allowed("see_dashboard")]

    @extend_schema(
        tags=["People"],
        parameters=[
            OpenApiParameter("a", UUID, OpenApiParameter.PATH, description=f"The one before. {_ID}"),
            OpenApiParameter("b", UUID, OpenApiParameter.PATH, description=f"The one that is compared with it. {_ID}"),
        ],
        responses={200: CompareAnswer, **person_refusals({400: "versions_same", 404: "not_found"})},
    )
    def get(self, request: Request, slug: str, a: UUID, b: UUID) -> Response:  # noqa: ARG002 - DRF's signature
        """Compare two versions on what the same agents measured on both, and on the hub's validation set."""
        federation = Federation.objects.filter(pk=slug).first()
        if federation is None or not is_member(self.user, federation):
            raise Http404
        found = {one.pk: one for one in versions_of(federation).filter(pk__in=[a, b])}
        if found.keys() != {a, b}:
            raise Http404
        if a == b:
            raise Refusal("versions_same", "Choose two different versions.", 400)
        told = beside(found[a], found[b], own_hospitals(self.user))
        on_hub = None if told.on_hub is None else _compared(told.on_hub)
        return Response({"finding": told.finding, "by_agents": _compared(told.by_agents), "on_hub": on_hub})


def _compared(found: Comparison) -> dict[str, Any]:
    lines = [
        {"name": one.name, "first": _share(one.first), "second": _share(one.second), "gap": _gap(one.gap)}
        for one in found.lines
    ]
    same = ("same", "alike", "own", "worse_in", "loss_change")
    told = {name: getattr(found, name) for name in same}
    return {**told, "first": _measured(found.first), "second": _measured(found.second), "lines": lines}


def _measured(found: VersionFigures | None) -> dict[str, Any] | None:
    if found is None:
        return None
    same = ("accuracy", "low", "high", "loss", "agents")
    confusion = [list(row.counts) for row in found.classes]
    return {**{name: getattr(found, name) for name in same}, "scans": found.n, "confusion": confusion}


def _share(found: Share | None) -> dict[str, Any] | None:
    return None if found is None else {name: getattr(found, name) for name in ("right", "scans", "low", "high")}


def _gap(found: Gap | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {name: getattr(found, name) for name in ("change", "low", "high", "better", "worse")}
