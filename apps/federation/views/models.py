"""Versions of the model: lineage, figures, verdicts; publish, reject, roll back."""

from uuid import UUID

from django.core.paginator import Paginator
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_POST, require_safe

from apps.accounts.roles import require
from apps.federation import figures, lineage, queries, reviews, versions
from apps.federation.forms import CompareForm, ReasonForm
from apps.federation.models import Federation, ModelVersion
from apps.federation.pipeline.decide import decide
from apps.federation.pipeline.review import MOST_REASON
from apps.federation.pipeline.step import Next, Refusal
from apps.federation.standing import Standing, standing
from apps.federation.states import VersionState
from apps.federation.views.page import act, federation_of_the_page, person, show
from apps.federation.visibility import own_hospitals

VERSIONS_A_PAGE, DRAWN_HERE = 50, 8


@require_safe
@require("see_dashboard")
def models(request: HttpRequest) -> HttpResponseBase:
    """Show the published versions, a page at a time, and those that wait for an administrator."""
    federation, reader = federation_of_the_page(), person(request)
    hospitals = own_hospitals(reader)
    numbered = federation.versions.exclude(number=None).order_by("-number")
    page = Paginator(numbered, VERSIONS_A_PAGE).get_page(request.GET.get("page"))
    first = max(0, page.start_index() - 1)
    rows = queries.version_rows(federation, hospitals, limit=VERSIONS_A_PAGE, first=first)
    held = federation.versions.filter(state=VersionState.HELD).order_by("-created_at")
    waiting = held.select_related("parent", "round", "author", "federation")
    stands = standing(federation, hospitals)
    newest = lineage.newest(federation, 0, DRAWN_HERE)
    return show(
        request,
        "models",
        {
            "federation": federation,
            "headline": queries.models_headline(federation, held.count()),
            "shown": page,
            "versions": reviews.deciders(rows, reader),
            "held": [(one, queries.told_verdict(one, hospitals), reviews.parts(one, reader)) for one in waiting],
            "current": federation.current,
            "stands": stands,
            "choose": _choose(federation, stands),
            "drawing": lineage.draw(federation, newest, hospitals),
            "figures": figures.version_figures(federation.current, hospitals) if federation.current else None,
        },
    )


def _choose(federation: Federation, stands: Standing | None) -> CompareForm | None:
    """Return the form for two versions: the last two unless somebody chooses others; None where there is one."""
    if stands is None or stands.before is None:
        return None
    return CompareForm(versions.choices(federation), a=str(stands.before.pk), b=str(stands.current.pk))


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
