"""Go back: what was published before is published again, under a new number."""

from apps.audit.api import Conflict, record, transaction
from apps.federation.models import Federation, ModelVersion
from apps.federation.pipeline.publish import publish
from apps.federation.pipeline.review import with_reason
from apps.federation.pipeline.step import Next, Refusal
from apps.federation.states import VersionState


def rollback(version: ModelVersion, *, actor: str, reason: str = "") -> tuple[ModelVersion, list[Next]]:
    """Publish a new version with the digest of an old one, its parent. Numbers only grow; an open round is superseded.

    Raises:
        Refusal: `reason_long` (400); `version_state` (409) where it was never published; `version_current` (409) where
            the current version has this digest; `version_race` (409) where another was published in the same moment.
    """
    verdict = with_reason(f"rolled back to version {version.number}", reason)
    if version.state != VersionState.PUBLISHED:
        raise Refusal("version_state", f"The version is {version.state}: only published ones can come back.", 409)
    current = Federation.objects.select_related("current").get(pk=version.federation_id).current
    if current is not None and current.digest == version.digest:
        raise Refusal("version_current", "This is the current version.", 409)
    again = ModelVersion(
        federation_id=version.federation_id,
        digest=version.digest,
        source=ModelVersion.Source.ROLLBACK,
        parent=version,
        verdict=verdict,
        calibration=version.calibration,
    )
    try:
        with transaction():
            again.save(force_insert=True)
            why = {"reason": reason.strip()} if reason.strip() else {}
            record("version.rollback", actor=actor, obj=again, objects=[version], to=version.number, **why)
            following = publish(again, actor=actor)
            if again.state != VersionState.PUBLISHED:
                raise Conflict("Another version was published in the same moment.")
    except Conflict as error:
        raise Refusal("version_race", "Another version was published in the same moment. Look again.", 409) from error
    return again, following
