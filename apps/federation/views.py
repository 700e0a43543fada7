"""The portal's pages. `/` is the dashboard for browsers and a sign of life for everything else."""

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_GET

from apps.accounts.models import User
from apps.audit.api import events_after
from apps.audit.models import AuditHead
from apps.federation import queries
from apps.federation.models import Federation
from apps.federation.pipeline.bootstrap import DEFAULT_SLUG
from apps.federation.visibility import visibilities

NEWEST = 20
ALIVE = {"status": "active", "message": "Secure Federated Learning Server Online"}


@require_GET
def index(request: HttpRequest) -> HttpResponse:
    """Show the dashboard to browsers; answer programs as the original Hospintel did."""
    if "text/html" not in request.headers.get("Accept", ""):
        return JsonResponse(ALIVE)
    if not isinstance(request.user, User):
        return redirect_to_login(request.get_full_path())
    return dashboard(request, request.user)


def dashboard(request: HttpRequest, user: User) -> HttpResponse:
    """Show state, versions with accuracy, hospitals and the newest events of the default federation."""
    federation = get_object_or_404(Federation.objects.select_related("current"), pk=DEFAULT_SLUG)
    head = AuditHead.objects.values_list("seq", flat=True).first() or 0
    context = {
        "federation": federation,
        "headline": queries.headline(federation),
        "status": queries.status(federation),
        "run": queries.active_run(federation),
        "versions": queries.version_rows(federation),
        "agents": queries.agent_rows(federation),
        "events": list(reversed(events_after(max(0, head - 200), 200, visibilities=visibilities(user))))[:NEWEST],
        "seq": head,
    }
    fragment = request.headers.get("X-Fragment") == "dashboard"
    return render(request, "federation/_dashboard.html" if fragment else "federation/dashboard.html", context)
