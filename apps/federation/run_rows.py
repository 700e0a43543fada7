"""Runs as the page of rounds shows them: who started each, how far it came, and its rounds."""

from dataclasses import dataclass
from itertools import groupby

from django.db.models import Count, Q

from apps.accounts.models import User
from apps.federation.figures import RoundRow, round_row
from apps.federation.models import Federation, Round, Run
from apps.federation.news import names_of
from apps.federation.states import RUN_ACTIVE, RoundState, RunState
from apps.federation.visibility import own_hospitals

# Icon and word of each state.
_SAID = {
    RunState.RUNNING: ("now", "Running"),
    RunState.PAUSED: ("warn", "Paused"),
    RunState.DONE: ("good", "Done"),
    RunState.ABORTED: ("bad", "Aborted"),
}


@dataclass(frozen=True)
class RunRow:
    """A run with those of its rounds that are on the page."""

    run: Run
    kind: str
    said: str
    published: int
    starter: str
    rounds: list[RoundRow]


def run_rows(federation: Federation, rounds: list[Round], user: User, *, first: bool) -> list[RunRow]:
    """Return the runs of these rounds (newest first, as `figures.rounds_of` gives them) for a reader.

    `first`: on the first page a run that waits for its first round is there too.
    """
    hospitals = own_hospitals(user)
    grouped = [(run, [round_row(row, hospitals) for row in own]) for run, own in groupby(rounds, lambda row: row.run)]
    waiting = federation.runs.filter(state__in=RUN_ACTIVE, all_rounds=None).first() if first else None
    if waiting is not None:
        grouped.insert(0, (waiting, []))
    counted = Run.objects.filter(pk__in=[run.pk for run, _ in grouped]).annotate(
        published=Count("all_rounds", filter=Q(all_rounds__state=RoundState.PUBLISHED))
    )
    published = dict(counted.values_list("pk", "published"))
    names = names_of({run.started_by for run, _ in grouped}, user)
    return [
        RunRow(run, *_SAID[RunState(run.state)], published[run.pk], names[run.started_by], own) for run, own in grouped
    ]
