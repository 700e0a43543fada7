"""What administrators are told of steps that were given up: what it is, why, and what to do."""

from collections.abc import Mapping
from dataclasses import dataclass

from apps.federation.models import Attempt, Round, Update
from apps.federation.pipeline.attempts import parked
from apps.federation.words import Advice

# Step -> what it is, and what holds until it is done.
WHAT: Mapping[str, tuple[str, str]] = {
    "inspect": ("Inspecting an update", "It counts if that is done before its round closes; no round waits for it."),
    "aggregate": ("Aggregating a round", "What was accepted is kept until then."),
    "gate": ("Judging a candidate", "It is kept, and not published until then."),
    "finish": ("Deleting what an ended round has left", "Its sealed updates and its key are on the hub until then."),
    "finish_run": ("Ending a run", "Its versions are published."),
    "write_model": ("Writing the model file of a version", "It cannot be downloaded as a Keras model until then."),
    "export_model": ("Writing a version for the analysis of scans", "That page has no model until then."),
    "verify_audit": ("Verifying the audit", "There is no result until then."),
    "prepare_validation": ("Preparing the validation set", "It measures nothing until then."),
    "validate": ("Measuring a version on the validation set", "Its page has no figures of it until then."),
}


@dataclass(frozen=True)
class Parked:
    """A parked step: its row, what is said about it, and the round that it belongs to, if there is one."""

    row: Attempt
    advice: Advice
    round: Round | None


def parked_steps() -> list[Parked]:
    """Return what waits for an administrator, oldest first."""
    return [Parked(row, _advice(row), _round_of(row)) for row in parked()]


def parked_in(round_: Round) -> list[Parked]:
    """Return what waits for an administrator in one round."""
    return [one for one in parked_steps() if one.round is not None and one.round.pk == round_.pk]


def _advice(row: Attempt) -> Advice:
    what, until = WHAT[row.step]
    how = f"failed each time ({row.fault})" if row.fault else "killed its process each time"
    return Advice(
        f"{what} was begun {row.tries} times and {how}.",
        f"{until} Look into the workers' log for the cause (memory, disk, a missing file), then try again.",
    )


def _round_of(row: Attempt) -> Round | None:
    rounds = Round.objects.select_related("run")
    if row.step == "inspect":
        update = Update.objects.filter(pk=row.object_id).first()
        return None if update is None else rounds.get(pk=update.round_id)
    return rounds.filter(pk=row.object_id).first()
