"""How findings are shown: a line each for people, one JSON object for machines."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence

from client_agent import __version__
from client_agent.doctor.finding import Finding, Patient, Status
from client_agent.errors import ChecksFailedError

_WIDTH = max(map(len, Status))


def as_lines(findings: Iterable[Finding]) -> list[Finding]:
    """Print each finding as soon as it is there, then how many there were; returns them."""
    told = []
    for finding in findings:
        told.append(finding)
        code = f" ({finding.code})" if finding.code else ""
        print(f"{finding.status:<{_WIDTH}}  {finding.check}: {finding.found}{code}", flush=True)
        if finding.remedy:
            print(f"{'':<{_WIDTH}}  do: {finding.remedy}", flush=True)
    counts = Counter(finding.status for finding in told)
    print(", ".join(f"{counts[status]} {status}" for status in Status))
    return told


def as_json(patient: Patient, findings: Iterable[Finding]) -> list[Finding]:
    """Print one JSON object with all findings; returns them."""
    told = list(findings)
    value = {
        "agent_version": __version__,
        "home": str(patient.home.folder),
        "hub": patient.url,
        "checks": [finding.to_dict() for finding in told],
    }
    print(json.dumps(value, indent=2))
    return told


def verdict(findings: Sequence[Finding]) -> None:
    """Return where no check failed.

    Raises:
        ChecksFailedError: checks_failed, with the names of those that did.
    """
    bad = [finding.check for finding in findings if finding.status == Status.FAILED]
    if bad:
        raise ChecksFailedError("checks_failed", f"failed: {', '.join(bad)}")
