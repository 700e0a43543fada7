"""Close a round when it is due, and make one candidate version of its accepted updates."""

import logging
from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

from django.db import IntegrityError
from django.utils import timezone

from apps.audit.api import Conflict, advance, record, transaction
from apps.federation.models import Agent, ModelVersion, Round, Update
from apps.federation.pipeline import storage
from apps.federation.pipeline.attempts import parked_ids
from apps.federation.pipeline.attend import attend
from apps.federation.pipeline.choose import call_up
from apps.federation.pipeline.finish import QUORUM, fail_round
from apps.federation.pipeline.inspect import open_update
from apps.federation.pipeline.step import Next
from apps.federation.states import RoundState, UpdateState
from hospintel_core import aggregate as rules
from hospintel_core import architectures, weights
from hospintel_core.errors import CoreError
from hospintel_core.failpoints import reach

logger = logging.getLogger(__name__)
WORKER = "system:worker"
FEW = 3


def close(round_id: UUID) -> list[Next]:
    """Close a collecting round where it is due; safe to call at any time.

    It is due when all expected agents are in (those revoked since are not waited for), or as many of them as were
    wanted where more were asked; `grace` seconds after the quorum was; or at the deadline (counted from the first
    accepted update), which without a quorum fails the round. Where the agents that were chosen have gone away, others
    are asked.
    """
    round_ = Round.objects.select_related("run__federation").get(pk=round_id)
    if round_.state != RoundState.COLLECTING:
        return []
    call_up(round_)
    accepted = {str(pk) for pk in round_.updates.filter(state=UpdateState.ACCEPTED).values_list("agent", flat=True)}
    # An update that is being inspected was sent in time: it is decided before the round closes, unless nobody can.
    undecided = round_.updates.filter(state=UpdateState.RECEIVED).exclude(pk__in=parked_ids("inspect"))
    if round_.first_accepted_at is None or undecided.exists():
        return []
    federation, now = round_.run.federation, timezone.now()
    quorum = len(accepted) >= federation.min_updates
    if quorum and round_.quorum_at is None:
        Round.objects.filter(pk=round_id, quorum_at__isnull=True).update(quorum_at=now)
        round_.quorum_at = now
    awaited = Agent.objects.active().filter(pk__in=round_.expected).values_list("pk", flat=True)
    missing = {str(pk) for pk in awaited} - accepted
    if not quorum and _is_over(round_.deadline_at, now):
        return fail_round(round_, QUORUM, actor=WORKER)
    enough = not missing or (round_.wanted is not None and len(accepted) >= round_.wanted)
    if not quorum or not (enough or _is_over(round_.closes_at, now)):
        return []
    try:
        with transaction():
            advance(
                round_,
                RoundState.AGGREGATING,
                actor=WORKER,
                changes={"closed_at": now},
                accepted=len(accepted),
                missing=len(missing),
            )
            attend(round_)
            reach("close.before_commit")
    except Conflict:
        return []
    reach("close.committed")
    return [Next("aggregate", round_id)]


def _is_over(moment: datetime | None, now: datetime) -> bool:
    return moment is not None and now >= moment


def _contributions(updates: list[Update]) -> Iterator[rules.Contribution]:
    for update in updates:
        # No name keeps the delta: one update is in memory at a time.
        yield rules.Contribution(str(update.agent_id), update.num_samples, open_update(update).delta)


def aggregate(round_id: UUID) -> list[Next]:
    """Stream the accepted updates of a closed round into one candidate; nothing happens where that was done.

    The order is that of the agents' ids and the accumulators are float64, so that a re-run gives the same bytes.
    """
    round_ = Round.objects.select_related("run__federation", "base__round__base").get(pk=round_id)
    if round_.state != RoundState.AGGREGATING:
        return []
    reach("aggregate.begun")
    federation = round_.run.federation
    schema = architectures.get(federation.architecture).head_schema
    # All of this one round: a row of it for each update would hold the ids of all its agents once for each of them.
    updates = list(round_.updates.filter(state=UpdateState.ACCEPTED).select_related("agent"))
    updates.sort(key=lambda update: str(update.agent_id))
    try:
        base = storage.read_head(round_.base.digest, schema)
        head = rules.get_rule(federation.rule)(base, _contributions(updates))
        moved = rules.with_momentum(head, base, _previous_head(round_, schema), federation.server_momentum)
        reach("aggregate.summed")
        digest = storage.store_head(weights.dumps(moved))
    except (CoreError, FileNotFoundError) as error:
        code = getattr(error, "code", "ciphertext_missing")
        logger.exception("round %s cannot be aggregated: %s", round_id, code)
        return fail_round(round_, code, actor=WORKER)
    except OSError as error:
        if error.errno not in storage.DISK_FULL:
            raise
        # Everything that was accepted is here: the tick tries again until there is room, and that is no error.
        logger.exception("round %s cannot be aggregated: the disk of the model folder is full", round_id)
        return []
    reach("aggregate.stored")
    return _commit(round_, updates, digest)


def _previous_head(round_: Round, schema: weights.Schema) -> weights.Arrays | None:
    """Return the head that the base's own round started from; None where the base comes from elsewhere.

    After a rollback, or in the first round of a run, whose plan may be another, nothing is carried on.
    """
    base = round_.base
    if base.source != ModelVersion.Source.ROUND or base.round is None or base.round.run_id != round_.run_id:
        return None
    return storage.read_head(base.round.base.digest, schema)


def _hospitals(updates: list[Update]) -> int:
    return Agent.objects.filter(pk__in=[update.agent_id for update in updates]).values("hospital").distinct().count()


def _commit(round_: Round, updates: list[Update], digest: str) -> list[Next]:
    federation = round_.run.federation
    try:
        with transaction():
            candidate = ModelVersion.objects.create(
                federation=federation,
                digest=digest,
                source=ModelVersion.Source.ROUND,
                parent=round_.base,
                round=round_,
            )
            record("version.candidate", actor=WORKER, obj=candidate, objects=[round_], digest=digest)
            for update in updates:
                advance(update, UpdateState.CONSUMED, actor=WORKER, objects=[round_])
            advance(
                round_,
                RoundState.EVALUATING,
                actor=WORKER,
                changes={"aggregated_at": timezone.now()},
                rule=federation.rule,
                server_momentum=federation.server_momentum,
                updates=len(updates),
                # Of two, each would learn the other's number.
                samples=sum(update.num_samples for update in updates) if _hospitals(updates) >= FEW else None,
                digest=digest,
            )
            reach("aggregate.before_commit")
    except (Conflict, IntegrityError):
        logger.info("round %s was aggregated by another worker", round_.pk)
        return []
    reach("aggregate.committed")
    return [Next("gate", round_.pk)]
