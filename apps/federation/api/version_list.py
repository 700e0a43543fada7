"""`GET /api/v1/federations/<slug>/versions`: what there is to decide about, to go back to, and to start from."""

from dataclasses import asdict
from typing import Any

from django.http import Http404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.accounts.models import User
from apps.federation import figures, reviews
from apps.federation.api.base import PersonView
from apps.federation.api.events import number_of
from apps.federation.api.shapes import VersionAnswer, person_refusals
from apps.federation.attendance import Attendant, attended, made_in
from apps.federation.figures import Hospitals
from apps.federation.models import Federation, ModelVersion
from apps.federation.news import names_of
from apps.federation.permissions import allowed
from apps.federation.pipeline.membership import is_member
from apps.federation.queries import told_verdict
from apps.federation.states import Presence
from apps.federation.versions import versions_of
from apps.federation.visibility import own_hospitals

MOST = 50


class AttendantAnswer(serializers.Serializer[None]):
    """An agent's part in a round."""

    hospital = serializers.CharField()
    agent = serializers.CharField(help_text="The first eight digits of its id.")
    presence = serializers.ChoiceField(
        Presence.choices,
        help_text="`LATE`: it called, and had no accepted update when the round closed; to others than its hospital "
        "and admins so is one whose update was refused. `ABSENT`: it did not call. `NOT_SELECTED`: the round asked "
        "others. `NOT_NEEDED`: enough others came first.",
    )
    why = serializers.CharField(help_text="The same in a sentence; empty for who is in it.")
    waited_for = serializers.BooleanField(help_text="Whether the round expected it.")
    share = serializers.FloatField(
        allow_null=True,
        help_text="Its part in the version, 0 to 1; for its hospital (of three and more in it) and admins, else null.",
    )
    samples = serializers.IntegerField(
        allow_null=True, help_text="Scans that it trained with; for its hospital and admins, else null."
    )


class LostAnswer(serializers.Serializer[None]):
    """What the missing have of a class, of the scans with which agents measure."""

    name = serializers.CharField()
    missing = serializers.IntegerField()
    of = serializers.IntegerField(allow_null=True, help_text="With those in it; null where only one's own are told.")


class AttendanceAnswer(serializers.Serializer[None]):
    """Who is in a version that came of a round, and who is not."""

    inside = AttendantAnswer(many=True)
    outside = AttendantAnswer(many=True)
    lost = LostAnswer(many=True)
    own = serializers.BooleanField(help_text="Whether `lost` is of the caller's hospitals alone.")
    withheld = serializers.BooleanField(help_text="Whether more is missing than the caller may be told.")


class ListedVersion(VersionAnswer):
    """A version, where it comes from, and what was measured on it."""

    current = serializers.BooleanField(help_text="Whether it is the federation's model now.")
    comes_from = serializers.ChoiceField(ModelVersion.Source.choices)
    made_from = serializers.UUIDField(allow_null=True, help_text="The version that it was made from.")
    author = serializers.CharField(help_text="Who proposed it, as the caller may know them; empty where nobody did.")
    note = serializers.CharField(help_text="What the author says about it.")
    accuracy = serializers.FloatField(allow_null=True, help_text="As the agents measured it, 0 to 1, or null.")
    scans = serializers.IntegerField(help_text="How many scans that was measured on.")
    measured = serializers.ListField(
        child=serializers.DictField(),
        help_text="What was measured on the hub's validation set, and (for its author and admins) by a proposal's job: "
        "name; lines of name, before, after with right, scans, low, high (95 %).",
    )
    attendance = AttendanceAnswer(
        allow_null=True, help_text="Who is in it, as written when its round closed; null for what came of no round."
    )
    created_at = serializers.DateTimeField()
    published_at = serializers.DateTimeField(allow_null=True)


class Versions(serializers.Serializer[None]):
    """The newest first, at most 50."""

    versions = ListedVersion(many=True)


class VersionsView(PersonView):
    """The versions of a federation, for people of its hospitals."""

    permission_classes = [allowed("see_dashboard")]

    @extend_schema(
        tags=["People"],
        parameters=[OpenApiParameter("skip", int, description="How many of the newest to leave out; 0 for none.")],
        responses={200: Versions, **person_refusals({404: "not_found"})},
    )
    def get(self, request: Request, slug: str) -> Response:
        """List versions of the model, whatever their state, the newest first."""
        user = self.user
        federation = Federation.objects.filter(pk=slug).first()
        if federation is None or not is_member(user, federation):
            raise Http404
        skip = min(number_of(request.query_params.get("skip", "0")), federation.versions.count())
        found = list(versions_of(federation)[skip : skip + MOST])
        names = names_of({one.author.actor for one in found if one.author}, user)
        hospitals = own_hospitals(user)
        return Response({"versions": [_listed(one, user, hospitals, names) for one in found]})


def _listed(version: ModelVersion, reader: User, hospitals: Hospitals, names: dict[str, str]) -> dict[str, Any]:
    same = ("number", "state", "digest", "note", "created_at", "published_at")
    shown = figures.shown(version, hospitals)
    return {
        "id": str(version.pk),
        **{name: getattr(version, name) for name in same},
        "current": version.federation.current_id == version.pk,
        "comes_from": version.source,
        "made_from": str(version.parent_id) if version.parent_id else None,
        "author": names[version.author.actor] if version.author else "",
        "verdict": told_verdict(version, hospitals),
        "accuracy": shown.accuracy,
        "scans": shown.n,
        "measured": [asdict(part) for part in reviews.parts(version, reader)],
        "attendance": _attendance(version, hospitals),
    }


def _attendance(version: ModelVersion, hospitals: Hospitals) -> dict[str, Any] | None:
    found = attended(made_in(version), hospitals)
    if found is None:
        return None
    told = {"inside": list(map(_told, found.inside)), "outside": list(map(_told, found.outside))}
    lost = [asdict(one) for one in found.lost]
    return {**told, "lost": lost, "own": found.own, "withheld": found.withheld}


def _told(one: Attendant) -> dict[str, Any]:
    return {name: value for name, value in asdict(one).items() if name not in {"kind", "said"}}
