"""Rounds: the list, and one round with everybody's place in it. Runs: start and steer."""

from uuid import UUID

from django.core.paginator import Paginator
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_POST, require_safe

from apps.accounts.roles import may, require
from apps.federation import figures, queries
from apps.federation.attendance import attended
from apps.federation.forms import RunForm
from apps.federation.ladder import places
from apps.federation.models import Attempt, Round, Run
from apps.federation.news import of_round
from apps.federation.parked import parked_in
from apps.federation.pipeline import attempts, runs
from apps.federation.pipeline.step import Next, Refusal
from apps.federation.run_rows import run_rows
from apps.federation.states import RoundState, RunState
from apps.federation.views.page import act, federation_of_the_page, person, show
from apps.federation.visibility import own_hospitals
from apps.federation.words import Advice, failure

ROUNDS_A_PAGE = 50
DONE = {
    "pause": "The run is paused. A round in progress still ends.",
    "resume": "The run goes on.",
    "abort": "The run is aborted. Nothing of its open round is published.",
}


@require_safe
@require("see_dashboard")
def rounds(request: HttpRequest) -> HttpResponseBase:
    """Show all runs and their rounds, newest first, a page at a time."""
    federation, user = federation_of_the_page(), person(request)
    page = Paginator(figures.rounds_of(federation), ROUNDS_A_PAGE).get_page(request.GET.get("page"))
    return show(
        request,
        "rounds",
        {
            "federation": federation,
            "headline": queries.headline(queries.situation(federation)),
            "page": page if page.paginator.count else None,
            "runs": run_rows(federation, list(page), user, first=page.number == 1),
        },
    )


@require_safe
@require("see_dashboard")
def round_page(request: HttpRequest, round_id: UUID) -> HttpResponseBase:
    """Show one round."""
    federation = federation_of_the_page()
    found = Round.objects.of(federation.pk).select_related("run__federation", "base", "version")
    found = found.prefetch_related("attendance__agent__hospital")
    round_ = get_object_or_404(found, pk=round_id)
    user = person(request)
    hospitals = own_hospitals(user)
    version, far = getattr(round_, "version", None), queries.progress(round_)
    return show(
        request,
        "round",
        {
            "federation": federation,
            "round": round_,
            "row": figures.round_row(round_, hospitals),
            "phases": figures.phases(round_),
            "news": of_round(user, round_),
            **queries.neighbours(round_),
            "headline": queries.round_headline(round_, far),
            "progress": far,
            "failure": _failure(round_),
            "parked": parked_in(round_) if may(user, "steer_runs") else [],
            "places": places(federation, round_, hospitals),
            "updates": queries.update_rows(round_, hospitals),
            "version": version,
            "attended": attended(round_, hospitals),
            "figures": figures.version_figures(version, hospitals) if version else None,
        },
    )


def _failure(round_: Round) -> Advice | None:
    if round_.state != RoundState.FAILED or not round_.reason:
        return None
    return failure(round_.reason, goes_on=round_.run.state == RunState.RUNNING)


@require_POST
@require("steer_runs")
def start_run(request: HttpRequest) -> HttpResponseBase:
    """Start a run with the form's rounds and epochs."""

    def start() -> list[Next]:
        form = RunForm(request.POST)
        if not form.is_valid():
            raise Refusal("bad_request", "Rounds and epochs are whole numbers.", 400)
        _, following = runs.start_run(
            federation_of_the_page(),
            rounds=form.cleaned_data["rounds"],
            plan={"epochs": form.cleaned_data["epochs"]},
            actor=person(request).actor,
        )
        return following

    return act(request, "The run is started.", start, back="index")


@require_POST
@require("steer_runs")
def retry_step(request: HttpRequest, attempt_id: UUID) -> HttpResponseBase:
    """Have a step tried again that was given up."""
    row = get_object_or_404(Attempt, pk=attempt_id, parked_at__isnull=False)
    actor = person(request).actor
    return act(request, "The step is tried again.", lambda: attempts.retry(row, actor=actor), back="index")


@require_POST
@require("steer_runs")
def steer_run(request: HttpRequest, run_id: UUID, verb: str) -> HttpResponseBase:
    """Pause, resume or abort a run."""
    run = get_object_or_404(Run.objects.select_related("federation"), pk=run_id)
    if verb not in runs.STEERING:
        raise Http404
    step = runs.STEERING[verb]
    return act(request, DONE[verb], lambda: step(run, actor=person(request).actor), back="index")
