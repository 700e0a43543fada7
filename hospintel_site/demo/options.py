"""What a demo is asked to do."""

from dataclasses import dataclass
from pathlib import Path

NAMES: tuple[str, ...] = (
    *("North Clinic", "Lakeside Hospital", "St. Anna", "Riverside Medical", "Hill Hospital", "East General"),
    *("Harbour Clinic", "West Park", "City Hospital", "Old Town Clinic", "Forest Hospital", "South Bay"),
)
MOST_HOSPITALS = len(NAMES)


@dataclass(frozen=True)
class Options:
    """The command line of `make demo`; what lies in `folder` is deleted at each start."""

    hospitals: int
    rounds: int
    epochs: int
    data: Path | None
    test: Path | None
    alpha: float
    seed: int
    port: int
    exit: bool
    smoke: bool
    folder: Path

    @property
    def architecture(self) -> str:
        """Return the architecture that the federation trains."""
        return "pixels-head16" if self.smoke else "vgg16-head256"

    @property
    def names(self) -> tuple[str, ...]:
        """Return the hospitals' names."""
        return NAMES[: self.hospitals]

    @property
    def processes(self) -> tuple[str, ...]:
        """Return the names of the agents' processes, in the order of the hospitals."""
        return tuple(f"hospital-{number}" for number in range(1, self.hospitals + 1))
