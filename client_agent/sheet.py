"""The hospital's own record of its rounds, as a CSV sheet: made from the journal alone, without the hub."""

import csv
import io
import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from client_agent.config import Config, Home, write_private
from client_agent.errors import NoTaskError, SetupError, printable
from client_agent.journal import Journal, Row
from hospintel_core import metrics
from hospintel_core.architectures import CLASSES
from hospintel_core.errors import ReportError
from hospintel_core.report import Report

CLASS_COLUMNS: Final = ("trained", "validation", "accuracy", "precision", "f1")
COLUMNS: Final = (
    "hospital",
    "agent",
    "federation",
    "run",
    "round",
    "task",
    "state",
    "code",
    "detail",
    "started_utc",
    "ended_utc",
    "version",
    "model",
    "validation_scans",
    "accuracy",
    "loss",
    "trained_scans",
    *(f"{name}_{column}" for name in CLASSES for column in CLASS_COLUMNS),
    "epochs",
    "epoch_losses",
    "epoch_accuracies",
    "train_seconds",
    "attempts",
    "bytes_sent",
    "bytes_received",
)
# More than a hundred epochs' losses; spreadsheets hold four times as much.
LONGEST_CELL: Final = 8_000
# Where a spreadsheet takes what follows for a formula: at the start of a cell, also if it cuts cells at other
# separators than ours (https://owasp.org/www-community/attacks/CSV_Injection).
_FORMULA: Final = re.compile(r"((?:^|[,;|\t])[\s\"']*)(?=[=+\-@\uff1d\uff0b\uff0d\uff20])")

_WRITABLE: Final = "give --output a file in a folder that this user may write"

Cell = str | int | None


def sheet(home: Home, config: Config, number: int | None = None) -> str:
    """The rounds that this agent has in its journal, oldest first, as CSV (RFC 4180) with a line of column names.

    `number` keeps to the rounds with this number.

    Raises:
        NoTaskError: no_round where there is none with this number.
        StorageError: the journal cannot be read.
    """
    rows: list[Row] = []
    if home.journal.exists():
        with Journal(home.journal) as journal:
            rows = journal.rounds(number)
    if number is not None and not rows:
        raise NoTaskError("no_round", f"this agent took no part in a round {number}", "without --round all are shown")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for row in rows:
        values = _values(row, config)
        writer.writerow([_cell(values.get(column)) for column in COLUMNS])
    return text.getvalue()


def write_sheet(path: Path, text: str) -> None:
    """Write a sheet to a file of the agent's user alone, whole or not at all; an older one is replaced.

    Raises:
        SetupError: output_unwritable.
    """
    try:
        if path.exists() and not path.is_file():
            raise SetupError("output_unwritable", f"{path} is not a file", "leave --output away to write to stdout")
        write_private(path, text.encode())
    except OSError as error:
        raise SetupError("output_unwritable", f"could not write {path}: {error.strerror}", _WRITABLE) from error


def _values(row: Row, config: Config) -> dict[str, Cell]:
    """What is known of a task, by column."""
    known: dict[str, Cell] = {
        "hospital": config.hospital,
        "agent": str(config.agent_id),
        "federation": row.federation,
        "run": row.run_id,
        "round": row.number,
        "task": row.kind,
        "state": row.state,
        "code": row.code,
        "detail": row.detail,
        "started_utc": _moment(row.started_ms),
        "ended_utc": _moment(row.changed_ms) if row.final else None,
        "version": row.version,
        "model": row.model,
        "attempts": row.attempt,
        "bytes_sent": row.bytes_up,
        "bytes_received": row.bytes_down,
    }
    if row.kind == "train" and row.samples:
        known |= {"trained_scans": row.samples, "train_seconds": f"{row.train_ms / 1000:.3f}"}
    if row.report:
        known |= _measured(row.report)
    if row.trained:
        known |= _trained(row)
    return known


def _measured(text: str) -> dict[str, Cell]:
    """How good the received model is on the validation scans; nothing where a later version wrote another form."""
    try:
        report = Report.from_json(text, len(CLASSES), max_n=10**9)
    except ReportError:
        return {}
    found: dict[str, Cell] = {
        "validation_scans": report.n,
        "accuracy": _share(report.accuracy),
        "loss": _share(report.loss),
    }
    for name, figures in zip(CLASSES, metrics.per_class(report.confusion), strict=True):
        shares = (figures.recall, figures.precision, figures.f1)
        cells = (figures.support, *map(_share, shares))
        found |= {f"{name}_{column}": cell for column, cell in zip(CLASS_COLUMNS[1:], cells, strict=True)}
    return found


def _trained(row: Row) -> dict[str, Cell]:
    """What the training used of each class and how it went."""
    counts, epochs = json.loads(row.trained), json.loads(row.epochs)
    return {
        "epochs": len(epochs),
        "epoch_losses": _series(loss for loss, _ in epochs),
        "epoch_accuracies": _series(accuracy for _, accuracy in epochs),
        **{f"{name}_trained": count for name, count in zip(CLASSES, counts, strict=False)},
    }


def _cell(value: Cell) -> str:
    """The text of a cell; words from elsewhere are never a formula to a spreadsheet."""
    if not isinstance(value, str):
        return "" if value is None else str(value)
    return _FORMULA.sub(r"\1'", printable(value, LONGEST_CELL))


def _share(value: float | None) -> str | None:
    return None if value is None else f"{value:.6f}"


def _series(values: Iterable[float]) -> str:
    return " ".join(f"{value:.6f}" for value in values)


def _moment(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"
