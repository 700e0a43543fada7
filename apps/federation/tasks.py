"""Celery is a hint: a task names a step and an id, the step looks at the database and does what is due."""

import logging
from collections.abc import Callable, Iterable
from functools import partial
from uuid import UUID

from apps.audit.api import on_commit
from apps.federation.models import Update
from apps.federation.pipeline.aggregate import aggregate, close
from apps.federation.pipeline.attempts import attempt
from apps.federation.pipeline.evaluate import finish_run, gate
from apps.federation.pipeline.export_model import export_model
from apps.federation.pipeline.finish import finish
from apps.federation.pipeline.inspect import inspect
from apps.federation.pipeline.open_round import open_round
from apps.federation.pipeline.prepare import prepare_validation
from apps.federation.pipeline.step import Next
from apps.federation.pipeline.validate import validate
from apps.federation.pipeline.verify_audit import verify_audit
from apps.federation.pipeline.write_model import write_model
from hospintel_site.celery import hand_over, hub_task
from hospintel_site.logs import about

logger = logging.getLogger(__name__)

STEPS: dict[str, Callable[[UUID], list[Next]]] = {
    "inspect": inspect,
    "close": close,
    "aggregate": aggregate,
    "gate": gate,
    "open": open_round,
    "finish": finish,
    "finish_run": finish_run,
    "write_model": write_model,
    "export_model": export_model,
    "verify_audit": verify_audit,
    "prepare_validation": prepare_validation,
    "validate": validate,
}


# Whose id is a round's.
OF_ROUNDS = frozenset({"close", "aggregate", "gate", "finish", "finish_run"})

# They run the base, or may have to download it through Keras: TensorFlow belongs to the training worker.
TRAINING = frozenset({"write_model", "export_model", "prepare_validation"})


@hub_task(queue="default", name="federation.step")
def step(*, name: str, pk: str) -> None:
    """Run a step and, in the same process, what follows from it: nobody waits for a queue between two steps.

    What the training worker runs stays there: it is `apart`.
    """
    waiting = [Next(name, UUID(pk))]  # type: ignore[arg-type]  # the broker carries plain strings
    while waiting:
        current = waiting.pop(0)
        with about(step=current.step, object=current.id, **_round_of(current)):
            following = attempt(current.step, current.id, STEPS[current.step])
        enqueue(item for item in following if item.apart)
        waiting += [item for item in following if not item.apart]


def _round_of(item: Next) -> dict[str, UUID]:
    """Return of which round a step is, for the log."""
    if item.step in OF_ROUNDS:
        return {"round": item.id}
    found = (
        Update.objects.filter(pk=item.id).values_list("round", flat=True).first() if item.step == "inspect" else None
    )
    return {"round": found} if found else {}


def enqueue(steps: Iterable[Next]) -> None:
    """Hand steps to the workers once the caller's transaction, if there is one, has committed."""
    for item in steps:
        queue = "training" if item.step in TRAINING else "default"
        on_commit(partial(hand_over, step, queue=queue, name=item.step, pk=str(item.id)))
