"""What an admin decides about a version that the gate held. The run that it paused is resumed by itself."""

from apps.audit.api import Conflict, advance, transaction
from apps.federation.models import ModelVersion
from apps.federation.pipeline.publish import publish
from apps.federation.pipeline.step import Next, Refusal
from apps.federation.states import VersionState

MOST_REASON = 80


def with_reason(text: str, reason: str) -> str:
    """Return a verdict and why, as long as its column is.

    Raises:
        Refusal: `reason_long` (400).
    """
    reason = reason.strip()
    if len(reason) > MOST_REASON:
        raise Refusal("reason_long", f"A reason has at most {MOST_REASON} characters.", 400)
    return f"{text}: {reason}" if reason else text


def publish_held(version: ModelVersion, *, actor: str, reason: str = "") -> list[Next]:
    """Publish a held version all the same; an open round is superseded.

    Raises:
        Refusal: `reason_long` (400), or `version_state` (409) where it is not held (any more).
    """
    verdict = with_reason(f"{version.verdict}; published by an admin", reason)
    if version.state != VersionState.HELD:
        raise _not_held(version)
    following = publish(version, actor=actor, verdict=verdict)
    if version.state != VersionState.PUBLISHED:
        raise _not_held(version)
    return following


def reject(version: ModelVersion, *, actor: str, reason: str = "") -> list[Next]:
    """Reject a held version for good.

    Raises:
        Refusal: `reason_long` (400), or `version_state` (409) where it is not held (any more).
    """
    verdict = with_reason(f"{version.verdict}; rejected by an admin", reason)
    try:
        if version.state != VersionState.HELD:
            raise Conflict("Only what the gate held is rejected.")
        with transaction():
            advance(version, VersionState.REJECTED, actor=actor, changes={"verdict": verdict})
    except Conflict as error:
        version.refresh_from_db()
        raise _not_held(version) from error
    return []


def _not_held(version: ModelVersion) -> Refusal:
    return Refusal("version_state", f"The version is {version.state}, not HELD.", 409)
