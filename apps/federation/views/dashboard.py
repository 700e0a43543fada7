"""The portal's first page. `/` is the dashboard for browsers and a sign of life for everything else."""

from functools import partial
from typing import Any
from uuid import UUID

from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_GET

from apps.accounts.models import User
from apps.accounts.roles import may, require
from apps.federation import figures, queries
from apps.federation.charts import NARROW, WIDTH, Chart, line_chart
from apps.federation.ladder import places
from apps.federation.models import Federation
from apps.federation.news import newest
from apps.federation.parked import parked_steps
from apps.federation.pipeline.runs import MAX_ROUNDS
from apps.federation.views.page import federation_of_the_page, person, show, show_shared
from apps.federation.visibility import own_hospitals
from hospintel_core.plan import MOST_EPOCHS, Plan
from hospintel_site.callers import asks_for_pages

NEWS = 9
ROUNDS = 8
ALIVE = {"status": "active", "message": "Secure Federated Learning Server Online"}


@require_GET
def index(request: HttpRequest) -> HttpResponseBase:
    """Show the dashboard to browsers; answer programs as the original Hospintel did."""
    if not asks_for_pages(request):
        return JsonResponse(ALIVE)
    return dashboard(request)


@require("see_dashboard")
def dashboard(request: HttpRequest) -> HttpResponseBase:
    """Show what is going on: run, hospitals, the current model and its history, rounds, news."""
    user, federation = person(request), federation_of_the_page()
    hospitals = own_hospitals(user)
    context = partial(_context, user, federation, hospitals)
    if hospitals is None or may(user, "steer_runs"):
        return show(request, "dashboard", context())
    return show_shared(request, "dashboard", federation, frozenset(hospitals), context)


def _context(user: User, federation: Federation, hospitals: set[UUID] | None) -> dict[str, Any]:
    now = queries.situation(federation)
    versions = queries.version_rows(federation, hospitals)
    # A version is measured some time after it was published: until then the figures are those of the one before.
    told = next((row for row in versions if row.measured.report is not None), None)
    return {
        "federation": federation,
        "headline": queries.headline(now),
        "status": queries.status(now),
        "run": now.run,
        "last_run": now.run or federation.runs.order_by("-created_at").first(),
        "round": now.round,
        "progress": now.progress,
        "places": places(federation, now.round, hospitals),
        "newest": versions[0] if versions else None,
        "told": told,
        "figures": figures.version_figures(told.version, hospitals) if told else None,
        "charts": _charts(versions),
        "drawn_own": all(row.measured.own for row in versions if row.measured.report is not None),
        "versions": versions,
        "rounds": [figures.round_row(row, hospitals) for row in figures.rounds_of(federation)[:ROUNDS]],
        "news": newest(user, NEWS),
        "trouble": queries.trouble(now, hospitals),
        "plan": Plan.from_dict(federation.plan),
        "steers": may(user, "steer_runs"),
        "parked": parked_steps() if may(user, "steer_runs") else [],
        "most_rounds": MAX_ROUNDS,
        "most_epochs": MOST_EPOCHS,
    }


def _charts(versions: list[queries.VersionRow]) -> list[list[Chart]]:
    """Return each chart as it is drawn for a wide and for a narrow screen."""
    known = [row for row in reversed(versions) if row.measured.accuracy is not None and row.measured.loss is not None]
    # What all measured together and what one's own hospital did are two lines, not one.
    own = all(row.measured.own for row in known)
    known = [row for row in known if row.measured.own == own]
    accuracy = [(str(row.version.number), row.measured.accuracy or 0.0) for row in known]
    loss = [(str(row.version.number), row.measured.loss or 0.0) for row in known]
    drawn = [
        [line_chart("Accuracy", accuracy, percent=True, width=width), line_chart("Loss", loss, width=width)]
        for width in (WIDTH, NARROW)
    ]
    return [[chart for chart in pair if chart] for pair in zip(*drawn, strict=True) if all(pair)]
