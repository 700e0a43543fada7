"""What all pages of the federation share."""

from collections.abc import Callable, Mapping
from typing import Any, cast
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect, render
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from apps.accounts.models import User
from apps.accounts.roles import MAY, may
from apps.audit.models import AuditHead
from apps.federation.models import Federation
from apps.federation.pipeline.bootstrap import DEFAULT_SLUG
from apps.federation.pipeline.membership import is_member
from apps.federation.pipeline.step import Next, Refusal
from apps.federation.tasks import enqueue
from apps.federation.views.shared_part import parts


def federation_of_the_page() -> Federation:
    """Return the federation that the pages show."""
    return get_object_or_404(Federation.objects.select_related("current"), pk=DEFAULT_SLUG)


def person(request: HttpRequest) -> User:
    """Return who is signed in; only for views behind `require`."""
    return cast("User", request.user)


def show(request: HttpRequest, name: str, context: Mapping[str, Any], *, folder: str = "federation") -> HttpResponse:
    """Render a page, or only its living part where the page itself asks for it anew.

    The living part is the template with an underscore before its name, which the page includes.
    """
    # Read before the page's own queries: what happens in between is fetched once more, never missed.
    seq = _seq()
    # Asked by the pages that offer what is for members alone.
    full = {"seq": seq, "member": lambda: is_member(person(request), federation_of_the_page()), **context}
    living = "_" if _asks_for_the_part(request) else ""
    return render(request, f"{folder}/{living}{name}.html", full)


def show_shared(
    request: HttpRequest,
    name: str,
    federation: Federation,
    hospitals: frozenset[UUID],
    context: Callable[[], Mapping[str, Any]],
) -> HttpResponse:
    """Render a page as `show` does, whose living part all readers with the same rights share for a moment.

    Args:
        request: of a reader in whose living part no form stands: forms carry what belongs to one session.
        name: of the page.
        federation: that the page shows.
        hospitals: whose own figures and events the reader may see.
        context: makes the living part's; asked only where it is not kept.
    """
    seq, user = _seq(), person(request)
    member = is_member(user, federation)
    rights = frozenset(what for what in MAY if may(user, what))

    def rendered() -> str:
        return render_to_string(f"federation/_{name}.html", {"seq": seq, "member": member, **context()}, request)

    part = parts.get((name, federation.pk, seq, hospitals, member, rights), rendered)
    if _asks_for_the_part(request):
        return HttpResponse(part)
    # Rendered by our own template, which has escaped what it shows.
    return render(request, f"federation/{name}.html", {"seq": seq, "federation": federation, "part": SafeString(part)})


def _seq() -> int:
    return AuditHead.objects.values_list("seq", flat=True).first() or 0


def _asks_for_the_part(request: HttpRequest) -> bool:
    return request.headers.get("X-Fragment") == "live"


def act(request: HttpRequest, done: str, action: Callable[[], list[Next]], *, back: str) -> HttpResponseRedirect:
    """Do what a form asked for, tell how it went on the next page, and go there.

    Args:
        request: of the form.
        done: what is said when it worked.
        action: calls the pipeline and returns what comes next.
        back: where to go.
    """
    try:
        enqueue(action())
        messages.success(request, done)
    except Refusal as refusal:
        messages.error(request, refusal.detail)
    return redirect(back)
