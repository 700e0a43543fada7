"""What a pipeline step returns: the steps that come next. A step never imports tasks."""

from dataclasses import dataclass
from typing import Literal
from uuid import UUID


@dataclass(frozen=True)
class Next:
    """Name and object of a following step; `apart` steps get a task of their own instead of running on."""

    step: Literal[
        "inspect",
        "close",
        "aggregate",
        "gate",
        "open",
        "finish",
        "finish_run",
        "write_model",
        "export_model",
        "verify_audit",
        "prepare_validation",
        "validate",
    ]
    id: UUID
    apart: bool = False


class Refusal(Exception):  # noqa: N818 - a refusal is an answer, not a fault
    """A request from outside that is refused: a stable code, a public sentence, an HTTP status.

    `public_code`, `detail` and `extra` are what the caller is told; `code` is what the audit says. All crypto refusals
    share one public text, so that nobody learns which check failed. `recorded` says that the audit has it already,
    in the entry of the object that it concerns.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        status: int = 400,
        *,
        public_code: str = "",
        recorded: bool = False,
        **extra: object,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.status = status
        self.public_code = public_code or code
        self.recorded = recorded
        self.extra = extra
