"""Which steps of a round, a version and a validation set are counted, and whether they are still needed."""

from uuid import UUID

from apps.audit.models import AuditEntry
from apps.federation.models import Federation, ModelVersion, Round, Update, ValidationSet
from apps.federation.pipeline import keys, model_files
from apps.federation.pipeline.attempts import KINDS, Kind
from apps.federation.states import ROUND_ACTIVE, RoundState, RunState, UpdateState, ValidationState


def _undecided(pk: UUID) -> bool:
    return Update.objects.filter(pk=pk, state=UpdateState.RECEIVED, round__state__in=ROUND_ACTIVE).exists()


def _closed(pk: UUID) -> bool:
    return Round.objects.filter(pk=pk, state=RoundState.AGGREGATING).exists()


def _unjudged(pk: UUID) -> bool:
    found = Round.objects.filter(pk=pk)
    return found.filter(state=RoundState.EVALUATING).exists() or found.under_evaluation().exists()


def _unfinished(pk: UUID) -> bool:
    return keys.has_round_key(pk) and not Round.objects.filter(pk=pk, state__in=ROUND_ACTIVE).exists()


def _last_of_run(pk: UUID) -> bool:
    return Round.objects.filter(pk=pk, run__state=RunState.RUNNING).exists()


def _unwritten(pk: UUID) -> bool:
    found = ModelVersion.objects.filter(pk=pk).first()
    return found is not None and model_files.Written.of(found.digest) is None


def _current(pk: UUID) -> bool:
    return Federation.objects.filter(current=pk).exists()


def _unprepared(pk: UUID) -> bool:
    return ValidationSet.objects.filter(pk=pk, state=ValidationState.PREPARING).exists()


def _unanswered(pk: UUID) -> bool:
    return AuditEntry.objects.filter(object=f"verification:{pk}").count() == 1


def _there(pk: UUID) -> bool:
    return ModelVersion.objects.filter(pk=pk).exists()


# `close` and `open` are looked at every second, and change the database alone.
OF_FEDERATION = {
    "inspect": Kind("update", _undecided),
    "aggregate": Kind("round", _closed),
    "gate": Kind("round", _unjudged),
    "finish": Kind("round", _unfinished),
    "finish_run": Kind("round", _last_of_run),
    "write_model": Kind("version", _unwritten),
    "export_model": Kind("version", _current),
    "verify_audit": Kind("verification", _unanswered),
    "prepare_validation": Kind("validation_set", _unprepared),
    "validate": Kind("version", _there),
}
KINDS.update(OF_FEDERATION)
