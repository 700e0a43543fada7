"""Open a received update in memory and decide: ACCEPTED or REFUSED(code). Worker only; plaintext never touches disk."""

import logging
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from django.utils import timezone

from apps.audit.api import Conflict, advance, record, transaction
from apps.federation.models import Evaluation, Federation, Round, Update
from apps.federation.pipeline import keys, storage
from apps.federation.pipeline.finish import fail_round, late_code, refuse
from apps.federation.pipeline.open_round import wire_schema
from apps.federation.pipeline.step import Next
from apps.federation.states import AgentState, RoundState, UpdateState
from hospintel_core import architectures, codecs, envelope, screening, weights
from hospintel_core.errors import CodecError, CoreError, EnvelopeError, KeyFileError, ReportError, WeightsError
from hospintel_core.failpoints import reach
from hospintel_core.report import Report

logger = logging.getLogger(__name__)
WORKER = "system:worker"
MAX_NORM_RATIO = 100.0
NORM_HISTORY = 50
REPORT_KEY = "report"


@dataclass(frozen=True)
class Opened:
    """An update in the clear: the delta of the head, and the metadata that came with it."""

    delta: weights.Arrays
    metadata: Mapping[str, str]


@dataclass(frozen=True)
class Judged:
    """What is kept of an update that may be used: its L2 norm, and what the agent measured on the base."""

    norm: float
    report: Report


class InspectError(CoreError):
    """An update that opens but may not be used; carries the code of the first finding."""

    codes = frozenset(
        {
            "ciphertext_damaged",
            "tensor_names",
            "tensor_dtype",
            "tensor_shape",
            "not_finite",
            "value_range",
            "norm_range",
            "report_missing",
        }
    )


def open_update(update: Update) -> Opened:
    """Decrypt an update from its stored ciphertext into the arrays that the round's schema names.

    Raises:
        CoreError: the envelope, the safetensors or the codec says no, or the ciphertext is not what was received.
        OSError: the ciphertext cannot be read.
    """
    federation = update.round.run.federation
    sealed = storage.read_sealed(update.pk)
    if weights.digest(sealed) != update.digest:
        # Whatever is aggregated is what was judged, even if another one of this agent's envelopes lies there by now.
        raise InspectError("ciphertext_damaged", f"The stored ciphertext of update {update.pk} has been changed.")
    _, payload = envelope.open_envelope(
        sealed,
        sender=update.agent.key,
        rsa_private=keys.rsa_private(update.round.rsa_kid),
        round_private=keys.round_private(update.round_id),
    )
    arrays, metadata = weights.loads(payload, wire_schema(federation))
    head = architectures.get(federation.architecture).head_schema
    return Opened(codecs.get(federation.codec).decode(arrays, head), metadata)


def judge(update: Update, opened: Opened) -> Judged:
    """Screen an opened update and read its report.

    This is done once, when it is accepted: the limit of the norm moves with what others send, and what was accepted
    stays accepted.

    Raises:
        InspectError, ReportError: the update may not be used.
    """
    federation = update.round.run.federation
    head = architectures.get(federation.architecture).head_schema
    findings = screening.screen(opened.delta, head, max_norm=max_norm(federation, besides=update))
    if findings:
        raise InspectError(findings[0].code, findings[0].detail)
    if REPORT_KEY not in opened.metadata:
        raise InspectError("report_missing", "The update carries no report.")
    report = Report.from_json(opened.metadata[REPORT_KEY], len(federation.classes), update.agent.max_samples)
    return Judged(screening.l2_norm(opened.delta), report)


def max_norm(federation: Federation, *, besides: Update | None = None) -> float | None:
    """Return 100 x the median norm of the federation's newest accepted updates; None while there are under three."""
    accepted = Update.objects.filter(
        round__run__federation=federation,
        norm__isnull=False,
        state__in=[UpdateState.ACCEPTED, UpdateState.CONSUMED],
    )
    if besides is not None:
        accepted = accepted.exclude(pk=besides.pk)
    norms = list(accepted.order_by("-decided_at").values_list("norm", flat=True)[:NORM_HISTORY])
    positive = [norm for norm in norms if norm]
    return MAX_NORM_RATIO * statistics.median(positive) if len(positive) >= 3 else None  # noqa: PLR2004


def inspect(update_id: UUID) -> list[Next]:
    """Decide about a received update; nothing happens where it is decided already."""
    update = Update.objects.select_related("round__run__federation", "agent__hospital").get(pk=update_id)
    if update.state != UpdateState.RECEIVED:
        return []
    reach("inspect.begun")
    if update.agent.state != AgentState.ACTIVE:
        refuse(update, "agent_revoked", actor=WORKER)
        return [Next("close", update.round_id)]
    try:
        judged = judge(update, open_update(update))
    except (EnvelopeError, WeightsError, CodecError, ReportError, InspectError) as error:
        refuse(update, error.code, actor=WORKER)
        return [Next("close", update.round_id)]
    except KeyFileError as error:
        return _without_key(update, error)
    return accept(update, judged)


def _without_key(update: Update, error: KeyFileError) -> list[Next]:
    """End what cannot go on: without its key no update of a round will ever open. The agent is not to blame."""
    if error.code != "key_missing":
        logger.error("The updates of round %s wait for a key: %s %s", update.round_id, error.detail, error.hint)
        return []
    refuse(update, late_code(update.round), actor=WORKER)
    # Where the key was erased because the round has just ended, nothing happens.
    return fail_round(update.round, error.code, actor=WORKER)


def accept(update: Update, judged: Judged) -> list[Next]:
    """Accept an inspected update, if its round still collects."""
    now = timezone.now()
    try:
        with transaction():
            # Believe the row count: the round may have closed while we decrypted.
            collecting = Round.objects.filter(pk=update.round_id, state=RoundState.COLLECTING)
            if not collecting.update(last_accepted_at=now):
                raise Conflict("The round has closed.")
            Round.objects.filter(pk=update.round_id, first_accepted_at__isnull=True).update(first_accepted_at=now)
            advance(
                update,
                UpdateState.ACCEPTED,
                actor=WORKER,
                changes={"norm": judged.norm, "train_ms": judged.report.train_ms, "decided_at": now},
                objects=[update.round],
            )
            # That it takes part is everyone's business, with how much is its own.
            record(
                "update.counted",
                actor=WORKER,
                obj=update,
                objects=[update.round],
                visibility=update.agent.hospital.visibility,
                samples=update.num_samples,
                size=update.size,
                validated=judged.report.n,
            )
            if judged.report.n:
                store_report(update.round, update.agent_id, judged.report, Evaluation.Kind.TRAIN)
            reach("inspect.before_commit")
    except Conflict:
        refuse(update, late_code(update.round), actor=WORKER)
        return []
    reach("inspect.committed")
    return [Next("close", update.round_id)]


def store_report(round_: Round, agent_id: UUID, report: Report, kind: Evaluation.Kind) -> None:
    """Keep a report: of the base version (TRAIN), or of the version that came of the round (EVALUATE)."""
    version_id = round_.base_id if kind == Evaluation.Kind.TRAIN else round_.version.pk
    Evaluation.objects.create(
        version_id=version_id,
        agent_id=agent_id,
        round=round_,
        kind=kind,
        confusion=[list(row) for row in report.confusion],
        n=report.n,
        correct=report.correct,
        loss_micro=report.loss_micro,
    )
