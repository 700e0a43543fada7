"""What a demo measured: `var/demo/summary.json`."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from apps.federation.figures import hub_seconds
from apps.federation.models import ModelVersion, Round
from apps.federation.pipeline.evaluate import measured
from apps.federation.states import UpdateState


@dataclass(frozen=True)
class RoundFigures:
    """One published round. Accuracy and loss are the agents' own; sizes are bytes, times seconds."""

    round: int
    version: int
    digest: str
    accuracy: float | None
    loss: float | None
    updates: int
    bytes_up: int
    bytes_down: int
    train_seconds: float
    hub_seconds: float

    def as_dict(self) -> dict[str, object]:
        """Return the figures under the names of summary.json."""
        return asdict(self)


def _bytes_down(journals: Iterable[Path], round_: Round) -> int:
    """Return what the agents downloaded to train in a round, from their own journals."""
    total = 0
    for journal in journals:
        with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as database:
            query = "SELECT COALESCE(SUM(bytes_down), 0) FROM rounds WHERE round_id = ? AND kind = 'train'"
            total += database.execute(query, (str(round_.pk),)).fetchone()[0]
    return total


def figures(version: ModelVersion, journals: Iterable[Path]) -> RoundFigures:
    """Return the figures of a version that came of a round."""
    round_ = version.round
    seconds = hub_seconds(version)
    if round_ is None or version.number is None or seconds is None:
        raise ValueError(f"{version} did not come of a published round")
    consumed = list(round_.updates.filter(state=UpdateState.CONSUMED))
    found = measured(version)
    return RoundFigures(
        round=round_.number,
        version=version.number,
        digest=version.digest,
        accuracy=found.accuracy,
        loss=found.loss,
        updates=len(consumed),
        bytes_up=sum(update.size for update in consumed),
        bytes_down=_bytes_down(journals, round_),
        train_seconds=max(update.train_ms or 0 for update in consumed) / 1000,
        hub_seconds=seconds,
    )


HEADER = "round version accuracy    loss updates   MB up MB down  train s  hub s"


def row(found: RoundFigures) -> str:
    """Return a line of the table that the demo prints."""
    accuracy = "-" if found.accuracy is None else f"{found.accuracy:.4f}"
    loss = "-" if found.loss is None else f"{found.loss:.4f}"
    return (
        f"{found.round:>5} {found.version:>7} {accuracy:>8} {loss:>7} {found.updates:>7} {found.bytes_up / 1e6:>7.2f} "
        f"{found.bytes_down / 1e6:>7.2f} {found.train_seconds:>8.2f} {found.hub_seconds:>6.3f}"
    )
