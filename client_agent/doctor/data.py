"""The hospital's scans, looked at file by file. Names and counts stay on this machine."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from client_agent.doctor.finding import Finding, Patient, failure, ok, warning
from client_agent.errors import DataError, printable
from client_agent.scans import MIN_SCANS, require_enough
from hospintel_core.architectures import CLASSES
from hospintel_core.dataset import open_dataset
from hospintel_core.errors import DatasetError
from hospintel_core.features import Problem
from hospintel_core.survey import Survey, survey

SHOWN_FILES: Final = 5
CONFLICT: Final = "conflicting_label"


def check_scans(patient: Patient) -> Iterator[Finding]:
    """Whether there are enough scans, and of each class; which files cannot be used, and which are there twice."""
    place = patient.data or (Path(patient.config.data) if patient.config and patient.config.data else None)
    if place is None:
        remedy = "give the folder or zip file of class folders as --data, as to run"
        yield warning("scans", "no_data_path", "not looked at: no --data was given, here or at enrolment", remedy)
        return
    try:
        with (
            patient.display.stage("reading scans", "scans") as show,
            open_dataset(place, CLASSES) as dataset,
        ):

            def on_progress(done: int, total: int) -> None:
                patient.stop.check()
                show(done, total)

            found = survey(dataset, len(CLASSES), on_progress)
    except DatasetError as error:
        yield failure("scans", error)
        return
    patient.usable = sum(found.usable)
    yield _scans(found)
    yield _classes(found)
    yield _files([problem for problem in found.problems if problem.code != CONFLICT])
    yield _labels([problem for problem in found.problems if problem.code == CONFLICT])
    yield _duplicates(found)


def _scans(found: Survey) -> Finding:
    usable = sum(found.usable)
    each = ", ".join(f"{count} {name}" for count, name in zip(found.usable, CLASSES, strict=True))
    try:
        require_enough(usable, each)
    except DataError as error:
        return failure("scans", error)
    facts = {"training": dict(zip(CLASSES, found.training, strict=True))}
    facts |= {"validation": dict(zip(CLASSES, found.validation, strict=True))}
    kept = sum(found.validation)
    return ok("scans", f"{usable} usable: {each}; {kept} of them are kept for validation", **facts)


def _classes(found: Survey) -> Finding:
    empty = [name for name, count in zip(CLASSES, found.usable, strict=True) if not count]
    if empty:
        which = " and ".join(empty)
        remedy = (
            f"put scans into the folder {' and '.join(empty)}; if the hospital has none, it can take part like this"
        )
        return warning("classes", "class_empty", f"no usable scan of {which}", remedy, empty=empty)
    bare = [name for name, count in zip(CLASSES, found.validation, strict=True) if not count]
    if bare and sum(found.usable) >= MIN_SCANS:
        remedy = "nothing is wrong: one scan in five is kept for validation, so more scans make this unlikely"
        told = f"no scan of {' and '.join(bare)} is in the validation part, so nothing is measured of that class here"
        return warning("classes", "class_not_validated", told, remedy, bare=bare)
    return ok("classes", f"scans of all {len(CLASSES)} classes")


def _files(problems: Sequence[Problem]) -> Finding:
    if not problems:
        return ok("files", "every file can be read")
    codes = Counter(problem.code for problem in problems)
    shown = [f"{printable(problem.name)} ({problem.code})" for problem in problems[:SHOWN_FILES]]
    return warning(
        "files",
        "scans_unusable",
        f"{_count(len(problems), 'file')} cannot be used: {_listed(shown, len(problems))}",
        "export them again as PNG, JPEG or single-frame DICOM, or remove them; until then they are left out",
        codes=dict(sorted(codes.items())),
        files=[{"name": problem.name, "code": problem.code} for problem in problems],
    )


def _labels(problems: Sequence[Problem]) -> Finding:
    if not problems:
        return ok("labels", "no scan lies in two classes")
    return warning(
        "labels",
        CONFLICT,
        f"{_count(len(problems), 'file')} with the same scan in two classes: "
        + _listed([printable(problem.name) for problem in problems[:SHOWN_FILES]], len(problems)),
        "keep each in the folder of the right class alone; until then they are left out",
        files=[problem.name for problem in problems],
    )


def _duplicates(found: Survey) -> Finding:
    more = sum(len(names) - 1 for names in found.copies)
    if not more:
        return ok("duplicates", "no scan is there twice")
    shown = [" = ".join(printable(name) for name in names) for names in found.copies[:SHOWN_FILES]]
    return warning(
        "duplicates",
        "scans_twice",
        f"{_count(more, 'exact copy', 'exact copies')}: {_listed(shown, len(found.copies))}",
        "nothing breaks, each scan counts once; remove the copies if the counts should be right",
        files=[list(names) for names in found.copies],
    )


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one}" if number == 1 else f"{number} {many or one + 's'}"


def _listed(shown: Sequence[str], total: int) -> str:
    more = total - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
