"""What is current, what was before it, and whether anything that was measured speaks for going back."""

from dataclasses import dataclass

from apps.federation.comparison import compare, compare_on_hub, finding
from apps.federation.figures import Hospitals
from apps.federation.models import Federation, ModelVersion
from apps.federation.queries import WORSE
from apps.federation.versions import called, neighbours, source_of, versions_of


@dataclass(frozen=True)
class Standing:
    """Where a federation's model stands. `kind` is the icon of the advice: good, warn, bad or idle."""

    current: ModelVersion
    source: str
    before: ModelVersion | None
    before_source: str
    kind: str
    short: str
    advice: str


def standing(federation: Federation, hospitals: Hospitals) -> Standing | None:
    """Return where a federation stands, for a reader who sees what is these hospitals'; None where it has no model."""
    if federation.current_id is None:
        return None
    current = versions_of(federation).get(pk=federation.current_id)
    found = neighbours(current)["before"]
    before = versions_of(federation).get(pk=found.pk) if found else None
    return Standing(
        current=current,
        source=source_of(current),
        before=before,
        before_source=source_of(before) if before else "",
        **_advice(current, before, hospitals),
    )


def _advice(current: ModelVersion, before: ModelVersion | None, hospitals: Hospitals) -> dict[str, str]:
    if before is None:
        return _say("idle", "Nothing to go back to", "This is the first version.")
    if current.alarm:
        found = f": {current.alarm}" if hospitals is None and current.alarm != WORSE else ""
        return _say("bad", "Going back is advised", f"The agents measured {called(current)} as {WORSE}{found}.")
    # Both read the very same scans there.
    compared = compare_on_hub(before, current) or compare(before, current, hospitals)
    again = "".join(
        f"{called(one).capitalize()} is {called(one.parent)} again. " for one in compared.again if one.parent
    )
    said = again + finding(before, current, compared)
    if compared.accuracy is None:
        return _say("idle", "Nothing speaks for going back", f"{said} Look at the figures of each.")
    if compared.accuracy.worse:
        return _say("bad", "Going back is advised", said)
    if compared.worse_in:
        lost = ", ".join(compared.worse_in).lower()
        return _say("warn", "Look before you decide", f"{said} It finds clearly less of: {lost}.")
    return _say("good", "No need to go back", said)


def _say(kind: str, short: str, advice: str) -> dict[str, str]:
    return {"kind": kind, "short": short, "advice": advice}
