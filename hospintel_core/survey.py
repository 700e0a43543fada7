"""What a folder of scans holds, found without any model: for people who put it together."""

from collections.abc import Callable
from dataclasses import dataclass

from hospintel_core.dataset import Dataset, Scan, is_validation
from hospintel_core.errors import CoreError
from hospintel_core.features import Problem, distinct
from hospintel_core.imaging import read_scan


@dataclass(frozen=True)
class Survey:
    """Usable scans of each class (in the order of the classes) that would train and that would validate.

    ``problems`` are the files that would be left out, ``copies`` names of files whose content is the same.
    """

    training: tuple[int, ...]
    validation: tuple[int, ...]
    problems: tuple[Problem, ...]
    copies: tuple[tuple[str, ...], ...]

    @property
    def usable(self) -> tuple[int, ...]:
        """Usable scans of each class."""
        return tuple(a + b for a, b in zip(self.training, self.validation, strict=True))


def survey(dataset: Dataset, classes: int, on_progress: Callable[[int, int], None] | None = None) -> Survey:
    """Read and decode every scan as ``features.extract`` does, and count; nothing is computed or kept.

    ``on_progress(done, total)`` counts the scans that are left after copies.
    """
    found = distinct(dataset)
    problems = list(found.problems)
    parts = [[0] * classes, [0] * classes]
    for done, (digest, scan) in enumerate(found.scans.items(), start=1):
        problem = _problem(scan)
        if problem is None:
            parts[is_validation(digest)][scan.label] += 1
        else:
            problems.append(problem)
        if on_progress is not None:
            on_progress(done, len(found.scans))
    return Survey(
        training=tuple(parts[False]),
        validation=tuple(parts[True]),
        problems=tuple(sorted(problems, key=lambda problem: problem.name)),
        copies=tuple(found.copies),
    )


def _problem(scan: Scan) -> Problem | None:
    try:
        read_scan(scan.read())
    except CoreError as error:
        return Problem(scan.name, error.code, error.detail)
    return None
