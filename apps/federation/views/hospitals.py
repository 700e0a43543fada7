"""Hospitals and their agents: who takes part, one-time codes, whether an agent can be reached, revocation."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_POST, require_safe

from apps.accounts.models import Hospital
from apps.accounts.pipeline import AccountError
from apps.accounts.roles import require
from apps.audit.api import Conflict
from apps.federation import hospitals as hospitals_of
from apps.federation.addresses import enrol_line, way_in
from apps.federation.forms import CodeForm, HospitalForm
from apps.federation.models import Agent, EnrolmentCode
from apps.federation.pipeline import enrol
from apps.federation.pipeline.revoke import revoke
from apps.federation.pipeline.step import Next, Refusal
from apps.federation.views.page import act, federation_of_the_page, person, show
from apps.federation.visibility import own_hospitals


@require_safe
@require("see_dashboard")
def hospitals(request: HttpRequest) -> HttpResponseBase:
    """Show the hospitals: all of them to administrators, their own to members."""
    federation, own = federation_of_the_page(), own_hospitals(person(request))
    rows = hospitals_of.hospital_rows(federation, own)
    headline = hospitals_of.hospitals_headline(rows, sees_all=own is None)
    return show(request, "hospitals", {"federation": federation, "rows": rows, "headline": headline})


@require_POST
@require("invite_hospitals")
def add_hospital(request: HttpRequest) -> HttpResponseBase:
    """Add a hospital to the federation and go to its page."""
    form = HospitalForm(request.POST)
    if not form.is_valid():
        messages.error(request, "A hospital needs a name of at most 100 characters.")
        return redirect("hospitals")
    try:
        hospital = enrol.add_hospital(federation_of_the_page(), form.cleaned_data["name"], actor=person(request).actor)
    except AccountError as error:
        messages.error(request, error.detail)
        return redirect("hospitals")
    messages.success(request, f"{hospital.name} is added. Next: issue a code for its agent.")
    return redirect("hospital", hospital.slug)


@require_safe
@require("see_dashboard")
def hospital(request: HttpRequest, slug: str) -> HttpResponseBase:
    """Show one hospital with its agents, codes and contributions."""
    found, federation = _own(request, slug), federation_of_the_page()
    agents = hospitals_of.agent_rows(found, federation)
    participation = federation.participations.filter(hospital=found).first()
    context = {
        "federation": federation,
        "hospital": found,
        "absent": hospitals_of.absent(participation),
        "headline": hospitals_of.hospital_headline(found, agents),
        "agents": agents,
        "participation": participation,
        "codes": hospitals_of.open_codes(found),
        "contributions": hospitals_of.contributions(found),
        "members": found.memberships.select_related("user").order_by("user__username"),
        "minutes": enrol.CODE_MINUTES,
        "max_samples": enrol.MAX_SAMPLES,
    }
    return show(request, "hospital", context)


@require_POST
@require("invite_hospitals")
def issue_code(request: HttpRequest, slug: str) -> HttpResponseBase:
    """Issue a one-time code and show it, this once, with the line that the hospital types."""
    found = _own(request, slug)
    form = CodeForm(request.POST)
    if not form.is_valid():
        messages.error(request, "A code is valid for 5 minutes to 7 days and allows 1 to 10,000,000 scans.")
        return redirect("hospital", slug)
    enrol.join(federation_of_the_page(), found, actor=person(request).actor)
    code, row = enrol.issue_code(found, actor=person(request).actor, **form.cleaned_data)
    way = way_in(request)
    # One option a line: a screen that is too narrow breaks a long line inside of one.
    line, secure = enrol_line(way).replace(" --", " \\\n  --"), way.address.startswith("https://")
    told = {"hospital": found, "code": code, "row": row, "line": line, "secure": secure, "ca": way.ca}
    return show(request, "code", told)


@require_POST
@require("invite_hospitals")
def switch_workbench(request: HttpRequest, slug: str) -> HttpResponseBase:
    """Switch the workbench on or off for the doctors of a hospital."""
    found, on = _own(request, slug), request.POST.get("on") == "1"
    participation = enrol.join(federation_of_the_page(), found, actor=person(request).actor)
    enrol.switch_workbench(participation, on=on, actor=person(request).actor)
    messages.success(request, f"The workbench is {'on' if on else 'off'} for the doctors of {found.name}.")
    return redirect("hospital", slug)


@require_POST
@require("invite_hospitals")
def withdraw_code(request: HttpRequest, code_id: UUID) -> HttpResponseBase:
    """Make a code unusable before its time."""
    row = get_object_or_404(EnrolmentCode.objects.select_related("hospital"), pk=code_id)
    try:
        enrol.withdraw_code(row, actor=person(request).actor)
        messages.success(request, "The code is withdrawn: nobody can use it any more.")
    except Conflict:
        messages.error(request, "The code was used or has expired in the meantime.")
    return redirect("hospital", row.hospital.slug)


@require_POST
@require("revoke_agents")
def revoke_agent(request: HttpRequest, agent_id: UUID) -> HttpResponseBase:
    """Revoke an agent: it is refused from its next request on."""
    agent = get_object_or_404(Agent.objects.select_related("hospital"), pk=agent_id)

    def go() -> list[Next]:
        try:
            return revoke(agent, actor=person(request).actor)
        except Conflict as error:
            raise Refusal("agent_revoked", "The agent is revoked already.", 409) from error

    done = "The agent is revoked. To take part again, the hospital enrols anew with a new code."
    return act(request, done, go, back=hospital_address(agent.hospital))


@require_POST
@require("see_dashboard")
def check_agent(request: HttpRequest, agent_id: UUID) -> HttpResponseBase:
    """Say whether an agent can be reached now, and what to do if not."""
    agent = get_object_or_404(Agent.objects.select_related("hospital"), pk=agent_id)
    found = _own(request, agent.hospital.slug)
    told = hospitals_of.connection(agent, federation_of_the_page())
    tell = messages.success if told.kind == "good" else messages.warning
    tell(request, f"Agent {str(agent.pk)[:8]}: {told.advice.cause} {told.advice.step}")
    return redirect("hospital", found.slug)


def hospital_address(found: Hospital) -> str:
    """Return the address of a hospital's page."""
    return f"/hospitals/{found.slug}/"


def _own(request: HttpRequest, slug: str) -> Hospital:
    """Return the hospital if it is the reader's to see; what is others' is not found."""
    own = own_hospitals(person(request))
    seen = Hospital.objects.all() if own is None else Hospital.objects.filter(pk__in=own)
    return get_object_or_404(seen, slug=slug)
