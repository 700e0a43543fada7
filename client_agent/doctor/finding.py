"""What one check found, and what all of them work with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from client_agent.clock import Stop
from client_agent.config import Config, Home
from client_agent.console import Display
from client_agent.errors import AgentError, describe
from hospintel_core import architectures
from hospintel_core.architectures import Architecture
from hospintel_core.errors import CoreError

# Nothing is failed without a word on what to do.
NOBODY_KNOWS: Final = "try again in some minutes; if it stays so, tell the hub's administrator this line"


class Status(StrEnum):
    """How a check ended. Only FAILED keeps the agent from taking part."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Finding:
    """One check: what was found, and what to do about it (`remedy`, empty where nothing is to be done).

    `code` is stable, and the agent's own wherever a round would end with one; `facts` are the same in numbers.
    """

    check: str
    status: Status
    found: str
    remedy: str = ""
    code: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "check": self.check,
            "status": str(self.status),
            "code": self.code,
            "found": self.found,
            "remedy": self.remedy,
            "facts": dict(self.facts),
        }


def ok(check: str, found: str, **facts: Any) -> Finding:
    """All is well."""
    return Finding(check, Status.OK, found, facts=facts)


def warning(check: str, code: str, found: str, remedy: str, **facts: Any) -> Finding:
    """The agent works, but not as it could."""
    return Finding(check, Status.WARNING, found, remedy, code, facts)


def failed(check: str, code: str, found: str, remedy: str, **facts: Any) -> Finding:
    """No round can end like this."""
    return Finding(check, Status.FAILED, found, remedy, code, facts)


def failure(check: str, error: AgentError | CoreError) -> Finding:
    """What a round would end with."""
    told = describe(error)
    return failed(check, told.code, told.detail, told.hint or NOBODY_KNOWS)


def skipped(check: str, why: str) -> Finding:
    """Nobody can tell, because of something before."""
    return Finding(check, Status.SKIPPED, why)


@dataclass
class Patient:
    """What is examined, and what earlier checks learned for later ones.

    `config` is None before enrolment, and where it cannot be used; `mine` is False where the home is another's, which
    is then left alone. `architecture` is the usual one until the hub has named its own; `usable` counts scans.
    """

    home: Home
    stop: Stop
    display: Display
    hub: str = ""
    ca: Path | None = None
    data: Path | None = None
    weights: Path | None = None
    config: Config | None = None
    mine: bool = True
    architecture: Architecture = field(default_factory=lambda: architectures.get("vgg16-head256"))
    usable: int = 0

    @property
    def url(self) -> str:
        """The hub that is examined: the given one, else the enrolment's."""
        return self.hub.strip().rstrip("/") or (self.config.hub if self.config else "")

    @property
    def trusted_ca(self) -> Path | None:
        """The CA that the connection is checked against, None for the machine's own roots."""
        return self.ca or (self.config.ca_path if self.config else None)
