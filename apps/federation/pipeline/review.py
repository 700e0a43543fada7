"""What an admin decides about a version that is held: by the gate, or because somebody proposed it.

Nobody decides about their own. A run that the gate paused is resumed by itself.
"""

import re

from apps.audit.api import Conflict, advance, deny, transaction
from apps.federation.models import ModelVersion
from apps.federation.pipeline.publish import publish
from apps.federation.pipeline.step import Next, Refusal
from apps.federation.states import VersionState

MOST_REASON = 80
_DECISIONS = r"(?:published|rejected) by an admin|rolled back to version \d+"
_DECISION = re.compile(rf"(?:^|; )({_DECISIONS})(?:: (.*))?$", re.DOTALL)


def with_reason(text: str, reason: str) -> str:
    """Return a verdict and why, as long as its column is.

    Raises:
        Refusal: `reason_long` (400).
    """
    reason = reason.strip()
    if len(reason) > MOST_REASON:
        raise Refusal("reason_long", f"A reason has at most {MOST_REASON} characters.", 400)
    return f"{text}: {reason}" if reason else text


def decision_of(verdict: str) -> tuple[str, str]:
    """Return what a person decided, as it stands in a verdict, and their reason (`with_reason`); each may be empty."""
    found = _DECISION.search(verdict)
    return (found[1], found[2] or "") if found else ("", "")


def publish_held(version: ModelVersion, *, actor: str, reason: str = "") -> list[Next]:
    """Publish a held version all the same; an open round is superseded.

    Raises:
        Refusal: `reason_long` (400), `own_version` (403) for its author, `version_state` (409) where it is not held
            (any more), or `version_race` (409) where another version was published in the same moment.
    """
    _check_author(version, actor)
    verdict = with_reason(f"{version.verdict}; published by an admin", reason)
    if version.state != VersionState.HELD:
        raise _not_held(version)
    following = publish(version, actor=actor, verdict=verdict)
    # Whoever wins has a model file to be written; whoever loses has nothing, though the version may be published.
    if not following:
        raise _not_held(version)
    return following


def reject(version: ModelVersion, *, actor: str, reason: str = "") -> list[Next]:
    """Reject a held version for good.

    Raises:
        Refusal: `reason_missing` or `reason_long` (400), `own_version` (403) for its author, or `version_state` (409)
            where it is not held (any more).
    """
    _check_author(version, actor)
    if not reason.strip():
        raise Refusal("reason_missing", "Say why: a rejection has a reason.", 400)
    verdict = with_reason(f"{version.verdict}; rejected by an admin", reason)
    try:
        if version.state != VersionState.HELD:
            raise Conflict("Only what is held is rejected.")
        with transaction():
            changes = {"verdict": verdict, "decided_by": actor}
            advance(version, VersionState.REJECTED, actor=actor, changes=changes)
    except Conflict as error:
        version.refresh_from_db()
        raise _not_held(version) from error
    return []


def _check_author(version: ModelVersion, actor: str) -> None:
    if version.author is not None and version.author.actor == actor:
        deny("version.decide", code="own_version", actor=actor, obj=version)
        detail = "You proposed this version: another administrator decides about it."
        raise Refusal("own_version", detail, 403, recorded=True)


def _not_held(version: ModelVersion) -> Refusal:
    if version.state == VersionState.HELD:
        return Refusal("version_race", "Another version was published in the same moment. Look again.", 409)
    return Refusal("version_state", f"The version is {version.state}, not HELD.", 409)
