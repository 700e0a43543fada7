"""The integers that an agent reports about a model on its own scans. Nothing else leaves with an update."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from hospintel_core import strict_json
from hospintel_core.errors import ReportError

MICRO: Final = 1_000_000
MAX_TEXT: Final = 16 * 1024
# A mean loss above this many nats would mean probabilities below float32's smallest number.
MAX_LOSS: Final = 1_000
MAX_TRAIN_MS: Final = 30 * 24 * 3600 * 1000
_KEYS: Final = frozenset({"confusion", "loss_micro", "train_ms"})


@dataclass(frozen=True)
class Report:
    """Confusion counts (rows = truth, columns = prediction, classes x classes) and the sum of losses in millionths.

    ``train_ms`` is the time that local training took, 0 for an evaluation.
    """

    confusion: tuple[tuple[int, ...], ...]
    loss_micro: int
    train_ms: int = 0

    def __post_init__(self) -> None:
        if not self.confusion or any(len(row) != len(self.confusion) for row in self.confusion):
            raise ReportError("report_shape", "The confusion counts are not a square table.")
        values = [value for row in self.confusion for value in row] + [self.loss_micro, self.train_ms]
        if not all(type(value) is int for value in values):
            raise ReportError("report_shape", "A report holds whole numbers only.")
        if any(value < 0 for value in values):
            raise ReportError("report_range", "A report holds no negative numbers.")

    @property
    def n(self) -> int:
        """Scans counted."""
        return sum(map(sum, self.confusion))

    @property
    def correct(self) -> int:
        """Scans whose predicted class is the true one."""
        return sum(row[index] for index, row in enumerate(self.confusion))

    @property
    def accuracy(self) -> float | None:
        """Share of correct scans, 0 to 1; None without scans."""
        return self.correct / self.n if self.n else None

    @property
    def loss(self) -> float | None:
        """Mean cross-entropy a scan in nats; None without scans."""
        return self.loss_micro / MICRO / self.n if self.n else None

    def __add__(self, other: "Report") -> "Report":
        """Both hospitals together: counts and losses add up, the time is the longer one."""
        if len(self.confusion) != len(other.confusion):
            raise ReportError("report_shape", "Reports over different classes cannot be added.")
        rows = zip(self.confusion, other.confusion, strict=True)
        return Report(
            tuple(tuple(a + b for a, b in zip(one, two, strict=True)) for one, two in rows),
            self.loss_micro + other.loss_micro,
            max(self.train_ms, other.train_ms),
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "confusion": [list(row) for row in self.confusion],
            "loss_micro": self.loss_micro,
            "train_ms": self.train_ms,
        }

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces."""
        return strict_json.canonical(self.to_dict())

    @classmethod
    def from_dict(cls, value: object, classes: int, max_n: int) -> "Report":
        """Return the report in JSON types: exactly its three keys, ``classes`` squared counts, at most ``max_n`` scans.

        ReportError ``report_shape`` or ``report_range``.
        """
        if not isinstance(value, Mapping) or value.keys() != _KEYS:
            raise ReportError("report_shape", "A report holds confusion, loss_micro and train_ms, and nothing else.")
        rows = value["confusion"]
        if not isinstance(rows, list) or len(rows) != classes or not all(isinstance(row, list) for row in rows):
            raise ReportError("report_shape", f"The confusion counts are not {classes} rows.")
        report = cls(tuple(tuple(row) for row in rows), value["loss_micro"], value["train_ms"])
        if report.n > max_n:
            raise ReportError("report_range", f"The report counts {report.n} scans, more than {max_n}.")
        if report.loss_micro > report.n * MAX_LOSS * MICRO or report.train_ms > MAX_TRAIN_MS:
            raise ReportError("report_range", "The report's loss or time is not plausible.")
        return report

    @classmethod
    def from_json(cls, text: str, classes: int, max_n: int) -> "Report":
        """Return the report in ``text``, as ``from_dict``; ReportError ``report_json`` if it is not strict JSON."""
        if len(text) > MAX_TEXT:
            raise ReportError("report_json", f"The report is longer than {MAX_TEXT} characters.")
        try:
            value = strict_json.parse(text)
        except ValueError as error:
            raise ReportError("report_json", "The report is not strict JSON.") from error
        return cls.from_dict(value, classes, max_n)
