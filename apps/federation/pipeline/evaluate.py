"""The gate: a candidate that the hub's validation set or the agents find worse than its base is held.

The agents are asked where there is no validation set and the federation wants it.

A run ends with one evaluation of its last version, so that the accuracy curve has its last point.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import IntegrityError
from django.db.models import Exists, OuterRef
from django.utils import timezone

from apps.audit.api import Conflict, advance, record, transaction
from apps.federation.models import Agent, Evaluation, ModelVersion, Round, Run
from apps.federation.pipeline.choose import online
from apps.federation.pipeline.inspect import store_report
from apps.federation.pipeline.open_round import build_manifest
from apps.federation.pipeline.publish import hold, publish
from apps.federation.pipeline.step import Next, Refusal
from apps.federation.pipeline.validate import judge
from apps.federation.states import ROUND_ACTIVE, RoundState, RunState
from hospintel_core import signing, strict_json
from hospintel_core.errors import CoreError, ReportError
from hospintel_core.failpoints import reach
from hospintel_core.report import Report

WORKER = "system:worker"
NOT_EVALUATED = "not evaluated"
CLOCK_WINDOW_MS = 15 * 60 * 1000


@dataclass(frozen=True)
class Measured:
    """The sum of what agents reported on one version."""

    agents: int
    n: int
    accuracy: float | None
    loss: float | None


def pooled(version: ModelVersion, agents: set[UUID] | None = None) -> tuple[int, Report | None]:
    """Return how many agents (of these agents) reported on a version, and the sum of their newest reports."""
    newest: dict[UUID, Evaluation] = {}
    # Sorted here and not by the database: pages read the reports of many versions at once.
    for evaluation in sorted(version.evaluations.all(), key=lambda one: (one.created_at, one.pk)):
        if agents is None or evaluation.agent_id in agents:
            newest[evaluation.agent_id] = evaluation
    total: Report | None = None
    for evaluation in newest.values():
        total = evaluation.report if total is None else total + evaluation.report
    return len(newest), total


def measured(version: ModelVersion, agents: set[UUID] | None = None) -> Measured:
    """Sum the newest report of each agent (of these agents) on a version, weighted by scans."""
    count, total = pooled(version, agents)
    if total is None:
        return Measured(0, 0, None, None)
    return Measured(count, total.n, total.accuracy, total.loss)


def gate(round_id: UUID) -> list[Next]:
    """Decide about the candidate of an EVALUATING round, or ask the agents first; safe to call at any time."""
    round_ = Round.objects.select_related("run__federation", "version__federation", "version__parent", "base").get(
        pk=round_id
    )
    if round_.state != RoundState.EVALUATING:
        return _close_final(round_)
    reach("gate.begun")
    federation = round_.run.federation
    check_alarm(round_.base)
    judged = judge(round_.version)
    if judged is not None:
        # The agents may have been asked before there was a set.
        if round_.evaluation_opened_at is not None:
            _end_evaluation(round_)
        decide = hold if judged.worse else publish
        return decide(round_.version, actor=WORKER, verdict=judged.verdict)
    if not federation.evaluate_quorum:
        return publish(round_.version, actor=WORKER, verdict=NOT_EVALUATED)
    if round_.evaluation_opened_at is None:
        open_evaluation(round_)
        return []
    reporters = set(round_.evaluations.filter(kind=Evaluation.Kind.EVALUATE).values_list("agent_id", flat=True))
    overdue = round_.evaluation_deadline_at is not None and timezone.now() >= round_.evaluation_deadline_at
    if len(reporters) < federation.evaluate_quorum and not overdue:
        return []
    return _judge(round_, reporters)


def _judge(round_: Round, reporters: set[UUID]) -> list[Next]:
    """Hold a candidate that is worse than its base, publish any other."""
    _end_evaluation(round_)
    verdict = _verdict(round_.version, reporters)
    if _loss(round_.version, reporters) is not None:
        return hold(round_.version, actor=WORKER, verdict=verdict)
    return publish(round_.version, actor=WORKER, verdict=verdict)


def _verdict(version: ModelVersion, reporters: set[UUID]) -> str:
    """Say what the agents found, and what those of them that measured the parent too had found there."""
    found = measured(version, reporters)
    if found.accuracy is None:
        return NOT_EVALUATED
    text = f"accuracy {found.accuracy:.4f} on {_many(found.n, 'scan')} of {_many(found.agents, 'agent')}"
    both, _, before = _with_parent(version, reporters)
    if before is None:
        return text
    return f"{text}, base {before:.4f}" + ("" if both == found.agents else f" of {both}")


def _with_parent(version: ModelVersion, reporters: set[UUID]) -> tuple[int, float | None, float | None]:
    """Return how many agents measured a version and its parent, and the accuracy of each as these agents found it."""
    if version.parent is None:
        return 0, None, None
    both = reporters & set(version.parent.evaluations.values_list("agent_id", flat=True))
    return len(both), measured(version, both).accuracy, measured(version.parent, both).accuracy


def _loss(version: ModelVersion, reporters: set[UUID]) -> str | None:
    """Compare a version with its parent as the same agents measured both. Returns how it is worse, or None."""
    both, now, before = _with_parent(version, reporters)
    if now is None or before is None or now >= before - version.federation.gate_margin:
        return None
    return f"accuracy {now:.4f}, its parent had {before:.4f} with the same {_many(both, 'agent')}"


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def open_evaluation(round_: Round) -> None:
    """Ask the agents to evaluate the version that came of a round."""
    federation = round_.run.federation
    now = timezone.now()
    deadline = now + timedelta(seconds=federation.evaluate_deadline)
    signed = build_manifest(
        "evaluate",
        run=round_.run,
        round_id=round_.pk,
        number=round_.number,
        version=round_.version,
        deadline_ms=int(deadline.timestamp() * 1000),
    )
    with transaction():
        opened = Round.objects.filter(pk=round_.pk, evaluation_opened_at__isnull=True).update(
            evaluation_manifest=signed.body,
            evaluation_signature=signed.signature,
            evaluation_kid=signed.kid.hex(),
            evaluation_opened_at=now,
            evaluation_deadline_at=deadline,
        )
        if opened:
            record(
                "evaluation.open",
                actor=WORKER,
                obj=round_,
                federation=federation.slug,
                digest=round_.version.digest,
            )
        reach("evaluation_open.before_commit")
    reach("evaluation_open.committed")


def _end_evaluation(round_: Round) -> bool:
    with transaction():
        closed = Round.objects.filter(pk=round_.pk, evaluation_closed_at__isnull=True).update(
            evaluation_closed_at=timezone.now()
        )
        if closed:
            record("evaluation.close", actor=WORKER, obj=round_, reports=round_.evaluations.count())
        reach("evaluation_end.before_commit")
    reach("evaluation_end.committed")
    return bool(closed)


def _close_final(round_: Round) -> list[Next]:
    """End the evaluation of a run's last version when the agents that are online have reported, or at its deadline.

    What they found becomes the version's verdict, and raises the alarm where it is worse than its parent.
    """
    if round_.evaluation_opened_at is None or round_.evaluation_closed_at is not None:
        return []
    reporters = set(round_.evaluations.filter(kind=Evaluation.Kind.EVALUATE).values_list("agent", flat=True))
    awaited = {agent.pk for agent in online(round_.run.federation) if str(agent.pk) in round_.expected}
    overdue = round_.evaluation_deadline_at is not None and timezone.now() >= round_.evaluation_deadline_at
    # Without any report the hub itself may have been away: then nobody is online yet.
    if not overdue and (awaited - reporters or not reporters):
        return []
    if _end_evaluation(round_):
        with transaction():
            # What the hub measured before it was published stays.
            unmeasured = ModelVersion.objects.filter(pk=round_.version.pk, verdict=NOT_EVALUATED)
            unmeasured.update(verdict=_verdict(round_.version, reporters))
        check_alarm(round_.version)
        end_run(round_.run)
    return []


def end_run(run: Run) -> None:
    """End a run whose rounds are all published."""
    try:
        with transaction():
            advance(run, RunState.DONE, actor=WORKER, changes={"ended_at": timezone.now()})
            reach("run_end.before_commit")
    except Conflict:
        # It was aborted in the same moment, or ended by another worker.
        run.refresh_from_db()
    reach("run_end.committed")


def finish_run(round_id: UUID) -> list[Next]:
    """After the last publication: ask for one evaluation, or end the run where there was one."""
    round_ = Round.objects.select_related("run__federation", "version").get(pk=round_id)
    if round_.evaluation_opened_at is None:
        open_evaluation(round_)
    elif round_.evaluation_closed_at is not None:
        end_run(round_.run)
    return []


def receive_report(agent: Agent, round_: Round, *, body: bytes, signature: bytes) -> list[Next]:
    """Check and keep the signed report of an `evaluate` task.

    Args:
        agent: the agent whose token came with it.
        round_: the round whose version was evaluated.
        body: the canonical JSON that was signed.
        signature: Ed25519 under `signing.DOMAIN_REPORT`.

    Raises:
        Refusal: `report_refused` (422), `round_closed` or `report_exists` (409).
    """
    if round_.evaluation_opened_at is None or round_.evaluation_closed_at is not None:
        raise Refusal("round_closed", "This evaluation has ended.", 409)
    try:
        signing.verify(signing.DOMAIN_REPORT, body, signature, agent.key)
        report = _parse_report(agent, round_, body)
    except CoreError as error:
        raise Refusal(error.code, "The report was refused.", 422, public_code="report_refused") from error
    try:
        with transaction():
            store_report(round_, agent.pk, report, Evaluation.Kind.EVALUATE)
            record("evaluation.report", actor=agent.actor, obj=round_)
            record(
                "evaluation.counted",
                actor=agent.actor,
                obj=round_,
                visibility=agent.hospital.visibility,
                scans=report.n,
                correct=report.correct,
            )
            reach("report.before_commit")
    except IntegrityError as error:
        raise Refusal("report_exists", "This agent has reported on this version already.", 409) from error
    reach("report.committed")
    return [Next("gate", round_.pk)]


def _parse_report(agent: Agent, round_: Round, body: bytes) -> Report:
    try:
        fields: dict[str, Any] = strict_json.parse(body.decode())
        names = {
            "agent": str(agent.pk),
            "federation": str(round_.run.federation.uuid),
            "model": round_.version.digest,
            "round": str(round_.pk),
        }
        fresh = abs(int(timezone.now().timestamp() * 1000) - int(fields["issued_ms"])) <= CLOCK_WINDOW_MS
        right = set(fields) == {*names, "issued_ms", "report"} and all(fields[key] == names[key] for key in names)
        text = strict_json.canonical(fields["report"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ReportError("report_json", "The report is not the JSON that was asked for.") from error
    if not (right and fresh):
        raise ReportError("report_json", "The report is about another round, model or agent, or too old.")
    return Report.from_json(text, len(round_.run.federation.classes), agent.max_samples)


def check_alarm(version: ModelVersion) -> None:
    """Raise the alarm where the agents that trained from a version measured it worse than its parent."""
    alarm = None if version.alarm else _loss(version, set(version.evaluations.values_list("agent_id", flat=True)))
    if alarm is None:
        return
    with transaction():
        if ModelVersion.objects.filter(pk=version.pk, alarm="").update(alarm=alarm):
            # That it is worse is everyone's business; the figures may be one hospital's.
            record("version.alarm", actor=WORKER, obj=version)
            record("version.alarm_figures", actor=WORKER, obj=version, visibility="admin", found=alarm)


def pending_evaluation(agent: Agent, federation_slug: str) -> Round | None:
    """Return the round whose version this agent is asked to evaluate, if there is one."""
    # Not exclude(evaluations__agent=..., evaluations__kind=...): there, the two need not be the same evaluation.
    reported = Evaluation.objects.filter(round=OuterRef("pk"), agent=agent, kind=Evaluation.Kind.EVALUATE)
    return (
        Round.objects.of(federation_slug)
        .under_evaluation()
        .filter(state__in=[*ROUND_ACTIVE, RoundState.PUBLISHED], run__state__in=[RunState.RUNNING, RunState.PAUSED])
        .exclude(Exists(reported))
        .first()
    )
