"""The portal's pages. `/` is the dashboard for browsers and a sign of life for everything else."""

from typing import cast

from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_GET

from apps.accounts.models import User
from apps.accounts.roles import require
from apps.audit.api import events_after
from apps.audit.models import AuditHead
from apps.federation import queries
from apps.federation.models import Federation
from apps.federation.pipeline.bootstrap import DEFAULT_SLUG
from apps.federation.visibility import own_hospitals, visibilities

NEWEST = 20
ALIVE = {"status": "active", "message": "Secure Federated Learning Server Online"}


@require_GET
def index(request: HttpRequest) -> HttpResponseBase:
    """Show the dashboard to browsers; answer programs as the original Hospintel did."""
    if "text/html" not in request.headers.get("Accept", ""):
        return JsonResponse(ALIVE)
    return dashboard(request)


@require("see_dashboard")
def dashboard(request: HttpRequest) -> HttpResponseBase:
    """Show state, versions with accuracy, hospitals and the newest events of the default federation."""
    user = cast("User", request.user)
    federation = get_object_or_404(Federation.objects.select_related("current"), pk=DEFAULT_SLUG)
    head = AuditHead.objects.values_list("seq", flat=True).first() or 0
    context = {
        "federation": federation,
        "headline": queries.headline(federation),
        "status": queries.status(federation),
        "run": queries.active_run(federation),
        "versions": queries.version_rows(federation, own_hospitals(user)),
        "agents": queries.agent_rows(federation, own_hospitals(user)),
        "events": list(reversed(events_after(max(0, head - 200), 200, visibilities=visibilities(user))))[:NEWEST],
        "seq": head,
    }
    fragment = request.headers.get("X-Fragment") == "dashboard"
    return render(request, "federation/_dashboard.html" if fragment else "federation/dashboard.html", context)
