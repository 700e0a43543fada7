"""What an administrator decides about a version, by name: the portal and the API offer the same three."""

from collections.abc import Callable, Mapping

from apps.federation.models import ModelVersion
from apps.federation.pipeline.review import publish_held, reject
from apps.federation.pipeline.rollback import rollback
from apps.federation.pipeline.step import Next

DECISIONS: Mapping[str, Callable[..., list[Next] | tuple[ModelVersion, list[Next]]]] = {
    "publish": publish_held,
    "reject": reject,
    "rollback": rollback,
}


def decide(version: ModelVersion, verb: str, *, actor: str, reason: str = "") -> tuple[ModelVersion, list[Next]]:
    """Do what `verb`, a key of DECISIONS, says. Returns the version it came to (a rollback makes a new one).

    Raises:
        Refusal: as the function of that verb.
    """
    made = DECISIONS[verb](version, actor=actor, reason=reason)
    return made if isinstance(made, tuple) else (version, made)
