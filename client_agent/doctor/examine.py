"""The checks in their order: what later ones need comes first."""

from collections.abc import Callable, Iterator
from typing import Final

from client_agent.doctor import data, enrolment, machine, network
from client_agent.doctor.finding import Finding, Patient

CHECKS: Final[tuple[Callable[[Patient], Iterator[Finding]], ...]] = (
    enrolment.check_configuration,
    enrolment.check_journal,
    network.check_hub,
    data.check_scans,
    machine.check_base_weights,
    machine.check_disk,
    machine.check_memory,
    machine.check_processor,
)


def examine(patient: Patient) -> Iterator[Finding]:
    """All findings, each as soon as it is known. Nothing is changed, and nothing about the scans leaves the machine.

    Raises:
        StopRequested: somebody asked for the end.
    """
    for check in CHECKS:
        patient.stop.check()
        yield from check(patient)
