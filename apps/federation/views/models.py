"""Versions of the model: lineage, figures, verdicts; publish, reject, roll back."""

from uuid import UUID

from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_POST, require_safe

from apps.accounts.roles import require
from apps.federation import figures, queries
from apps.federation.forms import ReasonForm
from apps.federation.models import ModelVersion
from apps.federation.pipeline.decide import decide
from apps.federation.pipeline.review import MOST_REASON
from apps.federation.pipeline.step import Next, Refusal
from apps.federation.states import VersionState
from apps.federation.views.page import act, federation_of_the_page, person, show
from apps.federation.visibility import own_hospitals


@require_safe
@require("see_dashboard")
def models(request: HttpRequest) -> HttpResponseBase:
    """Show the published versions and those that wait for an administrator."""
    federation, hospitals = federation_of_the_page(), own_hospitals(person(request))
    versions = queries.version_rows(federation, hospitals, limit=200)
    held = federation.versions.filter(state=VersionState.HELD).select_related("parent", "round").order_by("-created_at")
    current = versions[0] if versions else None
    return show(
        request,
        "models",
        {
            "federation": federation,
            "headline": queries.models_headline(federation, held.count()),
            "versions": versions,
            "held": [(version, queries.told_verdict(version, hospitals)) for version in held],
            "current": current,
            "figures": figures.version_figures(current.version, hospitals) if current else None,
        },
    )


@require_POST
@require("review_models")
def decide_version(request: HttpRequest, version_id: UUID, verb: str) -> HttpResponseBase:
    """Publish or reject a held version, or publish an old one again."""
    version = get_object_or_404(ModelVersion, pk=version_id)
    if verb not in DONE:
        raise Http404

    def go() -> list[Next]:
        form = ReasonForm(request.POST)
        if not form.is_valid():
            raise Refusal("reason_long", f"A reason has at most {MOST_REASON} characters.", 400)
        return decide(version, verb, actor=person(request).actor, reason=form.cleaned_data["reason"])[1]

    return act(request, DONE[verb], go, back="models")


DONE = {
    "publish": "The version is published.",
    "reject": "The version is rejected.",
    "rollback": "The version is current again, under a new number. Agents train from it.",
}
