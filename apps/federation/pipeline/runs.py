"""Start and steer a run."""

from collections.abc import Callable, Mapping

from django.db import IntegrityError
from django.utils import timezone

from apps.audit.api import Conflict, advance, record, transaction
from apps.federation.models import Federation, Round, Run
from apps.federation.pipeline.finish import after_end, mark_failed
from apps.federation.pipeline.step import Next, Refusal
from apps.federation.states import RunState
from hospintel_core.errors import PlanError
from hospintel_core.plan import Plan

MAX_ROUNDS = 1000


def start_run(
    federation: Federation, *, rounds: int, plan: dict[str, object] | None = None, actor: str
) -> tuple[Run, list[Next]]:
    """Start a run of a federation.

    Args:
        federation: which joint model.
        rounds: how many published rounds are wanted, 1 to 1000.
        plan: fields of `Plan` that differ from the federation's.
        actor: who starts it, for the audit.

    Raises:
        Refusal: `rounds_range`, a `plan_*` code (400), or `run_active` (409) where one is running or paused.
    """
    if not 1 <= rounds <= MAX_ROUNDS:
        raise Refusal("rounds_range", f"A run has 1 to {MAX_ROUNDS} rounds.", 400)
    try:
        full = Plan.from_dict({**federation.plan, **(plan or {})})
    except PlanError as error:
        raise Refusal(error.code, error.detail, 400) from error
    try:
        with transaction():
            run = Run.objects.create(federation=federation, rounds=rounds, plan=full.to_dict(), started_by=actor)
            record("run.start", actor=actor, obj=run, federation=federation.slug, rounds=rounds, epochs=full.epochs)
    except IntegrityError as error:
        raise Refusal("run_active", "A run of this federation is active. Abort it or wait for its end.", 409) from error
    return run, [Next("open", run.pk)]


def _steer(run: Run, to: RunState, actor: str, also: Callable[[], None] = lambda: None) -> None:
    """Move a run, and do what belongs to it in the same transaction."""
    ended = {"ended_at": timezone.now()} if to in {RunState.ABORTED, RunState.DONE} else {}
    try:
        with transaction():
            advance(run, to, actor=actor, changes=ended)
            also()
    except Conflict as error:
        run.refresh_from_db()
        raise Refusal("run_state", f"The run is {run.state}: it cannot become {to.value}.", 409) from error


def pause(run: Run, *, actor: str) -> list[Next]:
    """Pause a run: the round in progress ends, the next one waits."""
    _steer(run, RunState.PAUSED, actor)
    return []


def resume(run: Run, *, actor: str) -> list[Next]:
    """Resume a paused run."""
    _steer(run, RunState.RUNNING, actor)
    return [Next("open", run.pk)]


def abort(run: Run, *, actor: str) -> list[Next]:
    """Abort a run: its open round fails with reason `aborted`, nothing of it is published."""
    ended: list[Round] = []

    def fail_rounds() -> None:
        for round_ in Round.objects.active().filter(run=run):
            mark_failed(round_, "aborted", actor=actor)
            ended.append(round_)

    _steer(run, RunState.ABORTED, actor, fail_rounds)
    return [following for round_ in ended for following in after_end(round_)]


# By the name that portal, API and command share.
STEERING: Mapping[str, Callable[..., list[Next]]] = {"pause": pause, "resume": resume, "abort": abort}
