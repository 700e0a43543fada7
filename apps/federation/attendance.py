"""Who is in a round's version, who is not and why, and what went with them, for one reader."""

from collections.abc import Sequence
from dataclasses import dataclass

from apps.federation.figures import Hospitals
from apps.federation.models import Attendance, ModelVersion, Round
from apps.federation.pipeline.aggregate import FEW
from apps.federation.states import Presence, RoundState
from apps.federation.words import refusal


@dataclass(frozen=True)
class Attendant:
    """An agent's part. `kind` is the icon of its state; what this reader may not know is None.

    `presence` is what the reader is told: of a refusal only its hospital and administrators are, for others it is late.
    """

    hospital: str
    agent: str
    presence: str
    kind: str
    said: str
    why: str
    waited_for: bool
    share: float | None
    samples: int | None


@dataclass(frozen=True)
class Lost:
    """Scans of a class, of those with which agents measure: with those missing, and (if the reader may know) of all."""

    name: str
    missing: int
    of: int | None

    @property
    def whole(self) -> bool:
        """Return whether nobody who is in it has any."""
        return self.missing > 0 and self.missing == self.of


@dataclass(frozen=True)
class Attended:
    """Who was in a round and who was not.

    `lost`: what the missing have of each class; `own`: only those of the reader's hospitals. `withheld`: others are
    missing, too few for this reader to be told. `silent`: how many of the missing have never reported.
    """

    inside: tuple[Attendant, ...]
    outside: tuple[Attendant, ...]
    lost: tuple[Lost, ...]
    own: bool
    withheld: bool
    silent: int
    version: bool

    @property
    def said(self) -> str:
        """Return it in one sentence."""
        hospitals = len({one.hospital for one in self.inside})
        made = f"{hospitals} hospital{'' if hospitals == 1 else 's'}"
        if not self.outside:
            return f"All that take part, {made}."
        others, waited = len(self.outside), sum(one.waited_for for one in self.outside)
        left = "1 agent is not in it" if others == 1 else f"{others} agents are not in it"
        for_whom = "it was waited for" if others == 1 else f"waited for: {waited}"
        return f"{made.capitalize()}; {left}{f': {for_whom}' if waited else ''}."


def attended(round_: Round | None, hospitals: Hospitals) -> Attended | None:
    """Return who was in a round, for a reader with these hospitals; None before it closes."""
    if round_ is None:
        return None
    # Sorted here and not by the database: the list of versions reads the rows of many rounds at once.
    rows = sorted(round_.attendance.all(), key=lambda row: (row.agent.hospital.name, str(row.agent_id)))
    if not rows:
        return None
    inside = [row for row in rows if row.presence == Presence.IN]
    outside = [row for row in rows if row.presence != Presence.IN]
    seen = hospitals is None or _many(inside)
    lost, own, withheld = _lost(inside, outside, round_.run.federation.classes, hospitals)
    return Attended(
        inside=tuple(_attendant(row, hospitals, shares=seen) for row in inside),
        outside=tuple(_attendant(row, hospitals, shares=seen) for row in outside),
        lost=lost,
        own=own,
        withheld=withheld,
        silent=sum(not row.classes for row in outside),
        version=round_.state != RoundState.FAILED,
    )


def made_in(version: ModelVersion) -> Round | None:
    """Return the round that a version came of; of a roll-back, that of the version which it brought back."""
    found = version
    while found.source == ModelVersion.Source.ROLLBACK and found.parent is not None:
        found = found.parent
    return found.round


def _many(rows: Sequence[Attendance]) -> bool:
    """Return whether these are of so many hospitals that their sum tells of none."""
    return len({row.agent.hospital_id for row in rows}) >= FEW


def _is_own(row: Attendance, hospitals: Hospitals) -> bool:
    return hospitals is None or row.agent.hospital_id in hospitals


def _attendant(row: Attendance, hospitals: Hospitals, *, shares: bool) -> Attendant:
    own = _is_own(row, hospitals)
    # For others a refused update is one that was not accepted in time.
    presence = Presence.LATE if row.presence == Presence.REFUSED and not own else Presence(row.presence)
    kind, said, why = _words(presence, row)
    return Attendant(
        hospital=row.agent.hospital.name,
        agent=str(row.agent_id)[:8],
        presence=presence,
        kind=kind,
        said=said,
        why=why,
        waited_for=row.waited_for,
        # With its own number of scans and its share of two, a hospital would know the other's.
        share=row.share if own and shares else None,
        samples=row.samples if own else None,
    )


def _words(presence: Presence, row: Attendance) -> tuple[str, str, str]:
    """Return the icon, the word and the reason."""
    if presence == Presence.REFUSED:
        advice = refusal(row.code)
        return ("bad", "Refused", advice.cause) if advice.alarm else ("idle", "Not used", advice.cause)
    if presence == Presence.LATE and not row.waited_for:
        return "idle", "Late", "It came when the round was open; nobody waited for it."
    if presence == Presence.ABSENT and not row.waited_for:
        return "idle", "Absent", "It was not there when the round opened; nobody waited for it."
    return _WORDS[presence]


_WORDS = {
    Presence.IN: ("good", "In it", ""),
    Presence.LATE: ("warn", "Late", "It had no accepted update when the round closed."),
    Presence.ABSENT: ("warn", "Absent", "It was expected, and did not call while the round was open."),
    Presence.NOT_SELECTED: ("idle", "Not asked", "The round asked others."),
    Presence.NOT_NEEDED: ("idle", "Not needed", "Enough others came first."),
}


def _lost(
    inside: Sequence[Attendance], outside: Sequence[Attendance], names: Sequence[str], hospitals: Hospitals
) -> tuple[tuple[Lost, ...], bool, bool]:
    """Return what went with the missing, whether that is only the reader's own, and whether there is more."""
    known = [row for row in outside if row.classes]
    counted = [row for row in inside if row.classes]
    if hospitals is None or (_many(known) and _many(counted)):
        found = [
            Lost(name, missing, missing + sum(row.classes[place] for row in counted))
            for place, name in enumerate(names)
            for missing in [sum(row.classes[place] for row in known)]
        ]
        return (tuple(found) if known else ()), False, False
    own = [row for row in known if _is_own(row, hospitals)]
    mine = [Lost(name, sum(row.classes[place] for row in own), None) for place, name in enumerate(names)]
    return (tuple(mine) if own else ()), bool(own), len(own) < len(known)
