"""Pages about single versions: one, and two beside each other."""

from uuid import UUID

from django.core.paginator import Paginator
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_safe

from apps.accounts.roles import require
from apps.federation import attendance, figures, lineage, reviews, validations, versions
from apps.federation.comparison import beside
from apps.federation.forms import CompareForm
from apps.federation.models import ModelVersion
from apps.federation.pipeline import model_files
from apps.federation.queries import WORSE
from apps.federation.views.page import federation_of_the_page, person, show
from apps.federation.visibility import own_hospitals

DRAWN_A_PAGE = 40


@require_safe
@require("see_dashboard")
def version_page(request: HttpRequest, version_id: UUID) -> HttpResponseBase:
    """Show one version: what it is, what was measured on it, and how it stands to the current one."""
    federation, reader = federation_of_the_page(), person(request)
    version = get_object_or_404(versions.versions_of(federation), pk=version_id)
    hospitals = own_hospitals(reader)
    around = versions.neighbours(version)
    measured = versions.measured_as(version)
    return show(
        request,
        "version",
        {
            "federation": federation,
            "version": version,
            "headline": versions.headline(version, around["after"]),
            **around,
            "facts": versions.facts_of(version, reader, hospitals),
            "parts": reviews.parts(version, reader),
            "measured": measured,
            "shown": figures.shown(measured, hospitals),
            "figures": figures.version_figures(measured, hospitals),
            "attended": attendance.attended(attendance.made_in(version), hospitals),
            "on_hub": validations.measured_on_hub(version),
            "file": model_files.Written.of(version.digest),
            "kept_days": model_files.KEPT_DAYS,
            "kept_old": model_files.KEPT_OLD,
            "other": _other(version),
            "alarm": f"{versions.called(version).capitalize()} is {WORSE}." if version.alarm else "",
        },
    )


def _other(version: ModelVersion) -> ModelVersion | None:
    """Return what a version is best compared with: the current one, or what the current one was made from."""
    current = version.federation.current
    return version.parent if current is None or current.pk == version.pk else current


@require_safe
@require("see_dashboard")
def lineage_page(request: HttpRequest) -> HttpResponseBase:
    """Show which version was made from which, all of them, a page at a time."""
    federation, reader = federation_of_the_page(), person(request)
    hospitals = own_hospitals(reader)
    page = Paginator(federation.versions.order_by("pk"), DRAWN_A_PAGE).get_page(request.GET.get("page"))
    drawn = lineage.newest(federation, max(0, page.start_index() - 1), DRAWN_A_PAGE)
    drawing = lineage.draw(federation, drawn, hospitals)
    return show(
        request,
        "lineage",
        {
            "federation": federation,
            "headline": versions.lineage_headline(federation),
            "shown": page,
            "drawing": drawing,
        },
    )


@require_safe
@require("see_dashboard")
def compare_page(request: HttpRequest) -> HttpResponseBase:
    """Show two versions beside each other, `?a=` and `?b=`; the form alone where they are not both given."""
    federation, reader = federation_of_the_page(), person(request)
    hospitals = own_hospitals(reader)
    form = CompareForm(versions.choices(federation), request.GET or None)
    context = {"federation": federation, "form": form, "headline": "Which two versions?"}
    if form.is_valid():
        first, second = (versions.versions_of(federation).get(pk=form.cleaned_data[name]) for name in ("a", "b"))
        told = beside(first, second, hospitals)
        sides = [(versions.facts_of(one, reader, hospitals), reviews.parts(one, reader)) for one in (first, second)]
        context |= {
            "headline": told.finding,
            "found": told.by_agents,
            "on_hub": told.on_hub,
            "first": sides[0][0],
            "second": sides[1][0],
            "sides": sides,
        }
    return show(request, "compare", context)
