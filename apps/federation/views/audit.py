"""The audit: find entries, look at one, verify it, take all of it along."""

import itertools
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from asgiref.sync import sync_to_async
from django.db import close_old_connections
from django.http import Http404, HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_POST, require_safe

from apps.accounts.models import Hospital, User
from apps.accounts.roles import may, require
from apps.audit import checkpoints, export
from apps.audit.api import record, transaction, verify
from apps.audit.feed import as_event
from apps.audit.forms import SearchForm
from apps.audit.models import AuditEntry, AuditHead, Checkpoint
from apps.audit.search import MAX_SEQ, Wanted, find
from apps.federation.models import Agent
from apps.federation.news import News, told
from apps.federation.pipeline import keys
from apps.federation.pipeline.verify_audit import ask, latest
from apps.federation.pipeline.witness import contradictions
from apps.federation.views.page import act, person, show
from apps.federation.visibility import own_hospitals, visibilities
from apps.federation.words import EVENTS

LINES = 500


@dataclass(frozen=True)
class Row:
    """One entry in the list: as a sentence, and what leads to others like it."""

    news: News
    event: dict[str, Any]

    @property
    def code(self) -> str:
        """Return why something was refused, or nothing."""
        return str(self.event["facts"].get("code", ""))


@require_safe
@require("see_events")
def entries(request: HttpRequest) -> HttpResponseBase:
    """Show the entries that this person may see and that fit the filter, newest first."""
    user = person(request)
    form = SearchForm(request.GET)
    asked = form.cleaned_data if form.is_valid() else {}
    wanted = _wanted(asked, user)
    found = find(wanted, visibilities=visibilities(user), before=asked.get("before"), after=asked.get("after"))
    events = [as_event(entry) for entry in found.entries]
    kept = {name: value for name, value in request.GET.items() if name in SearchForm.base_fields and value}
    narrowing = {name: value for name, value in kept.items() if name not in {"before", "after"}}
    checks = may(user, "check_audit")
    return show(
        request,
        "entries",
        {
            "form": form,
            "asked": narrowing,
            "rows": [Row(news, event) for news, event in zip(told(events, user), events, strict=True)],
            "older": urlencode({**narrowing, "before": found.older}) if found.older else "",
            "newer": urlencode({**narrowing, "after": found.newer}) if found.newer else "",
            "newest": urlencode(narrowing),
            "actions": sorted(EVENTS),
            **(_standing() if checks else {"headline": "What happened here"}),
        },
        folder="audit",
    )


def _standing() -> dict[str, Any]:
    """Return how the chain as a whole stands, for those who may verify it."""
    head, verification = AuditHead.objects.get(pk=1).seq, latest()
    trouble = ""
    if verification is None or verification.is_late:
        headline = f"{head} entries; not verified lately"
    elif verification.is_under_way:
        headline = f"{head} entries are being verified"
    elif verification.holds:
        new = head - verification.entries
        headline = f"All {verification.entries} verified entries hold; {new} {'is' if new == 1 else 'are'} newer"
    else:
        headline = f"The audit does not hold at entry {verification.bad_seq}"
        trouble = f"Entry {verification.bad_seq}: {verification.reason}."
    return {
        "headline": headline,
        "trouble": trouble,
        "verification": verification,
        "checkpoint": checkpoints.newest(),
        "contradictions": contradictions(),
    }


@require_safe
@require("see_events")
def entry(request: HttpRequest, seq: int) -> HttpResponseBase:
    """Show one entry. Its hashes are for administrators: with them, somebody could try out what a hidden entry says."""
    user = person(request)
    if seq > MAX_SEQ:
        raise Http404
    visible = AuditEntry.objects.visible_as(visibilities(user))
    row = get_object_or_404(visible, pk=seq)
    event = as_event(row)
    context = {
        "entry": row,
        "row": Row(told([event], user)[0], event),
        "older": visible.filter(seq__lt=seq).order_by("-seq").values_list("seq", flat=True).first(),
        "newer": visible.filter(seq__gt=seq).order_by("seq").values_list("seq", flat=True).first(),
    }
    if may(user, "check_audit"):
        context |= {
            "body": bytes(row.body).decode(errors="replace"),
            "result": verify(seq, seq),
            "signed": Checkpoint.objects.filter(seq__gte=seq).order_by("seq").first(),
        }
    return render(request, "audit/entry.html", context)


@require_POST
@require("check_audit")
def verify_now(request: HttpRequest) -> HttpResponseBase:
    """Have a worker verify the audit; the result is an entry, and appears on the page."""
    return act(
        request,
        "A worker is verifying the audit. The result appears here.",
        lambda: ask(actor=person(request).actor),
        back="audit",
    )


@require_POST
@require("check_audit")
def export_all(request: HttpRequest) -> HttpResponseBase:
    """Send the whole audit as lines of JSON; the export is an entry itself."""
    with transaction():
        record("audit.export", actor=person(request).actor, visibility="admin")
    lines = export.lines(link.to_wire() for link in keys.identity_chain())
    return StreamingHttpResponse(
        _in_chunks(lines),
        content_type="application/x-ndjson",
        headers={"Content-Disposition": 'attachment; filename="hospintel-audit.jsonl"', "Cache-Control": "no-store"},
    )


async def _in_chunks(lines: Iterator[str]) -> AsyncIterator[bytes]:
    """Read the lines in a thread, a few hundred at a time: a slow reader holds neither a thread nor a connection."""
    while chunk := await sync_to_async(_next_of)(lines):
        yield chunk


def _next_of(lines: Iterator[str]) -> bytes:
    try:
        return "".join(itertools.islice(lines, LINES)).encode()
    finally:
        close_old_connections()


def _wanted(asked: dict[str, Any], user: User) -> Wanted:
    start: datetime | None = asked.get("start")
    end: datetime | None = asked.get("end")
    return Wanted(
        start=start,
        end=end,
        actors=_actors(asked["actor"], user) if asked.get("actor") else None,
        action=asked.get("action", ""),
        object=_reference(asked.get("object", "")),
        outcome=asked.get("outcome", ""),
        code=asked.get("code", ""),
    )


def _reference(text: str) -> str:
    """Return what screens write as "round 7ef69579" as the audit writes it."""
    return text if ":" in text else text.replace(" ", ":", 1)


def _actors(text: str, user: User) -> list[str]:
    """Return whom a text may mean: a reference, a kind, a hospital's agents, and for administrators a person."""
    found = [text]
    if text.lower() in {"the hub", "hub"}:
        found.append("system")
    if text.lower() in {"the command line", "command line"}:
        found.append("command")
    agents = Agent.objects.filter(hospital__in=Hospital.objects.filter(name__iexact=text))
    found += [agent.actor for agent in agents]
    if own_hospitals(user) is None:
        found += [someone.actor for someone in User.objects.filter(username__iexact=text)]
    return found
