"""`manage.py set_federation`: show or change the limits of a joint model."""

from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from apps.federation.management.common import COMMAND, FederationCommand, add_federation, find_federation
from apps.federation.pipeline.configure import configure, settings_of
from apps.federation.tasks import enqueue
from hospintel_core.aggregate import RULES

HELP = {
    "min_updates": "updates that make a round, and agents that must be online for one to open",
    "grace": "seconds a round waits for the others after that many",
    "deadline": "seconds from a round's first update to its end",
    "evaluate_quorum": "agents that judge a candidate before it is published; 0: none",
    "evaluate_deadline": "seconds they have for it",
    "gate_margin": "how much less accurate a candidate may be than its base",
    "rule": "how updates are averaged: fedavg by samples, mean plainly",
    "server_momentum": "share of the last round's movement that a round carries on; 0: none (plain averaging)",
    "epochs": "local epochs a round, for runs that start later",
    "batch_size": "scans in a training step, likewise",
    "learning_rate": "of Adam, likewise",
    "mirror": "yes or no: whether scans are also shown mirrored left to right, likewise",
}


def yes_or_no(text: str) -> bool:
    """Return what was meant. Raises ArgumentTypeError."""
    if text not in {"yes", "no"}:
        raise ArgumentTypeError(f"{text!r} is neither yes nor no")
    return text == "yes"


KINDS: dict[str, Any] = {
    "gate_margin": float,
    "server_momentum": float,
    "learning_rate": float,
    "rule": str,
    "mirror": yes_or_no,
}


class Command(FederationCommand):
    """Show or change a federation's settings."""

    help = "Change settings of a federation; without options, show them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_federation(parser)
        for name, text in HELP.items():
            choices = sorted(RULES) if name == "rule" else None
            option = f"--{name.replace('_', '-')}"
            parser.add_argument(option, type=KINDS.get(name, int), choices=choices, help=text)

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002 - Django's signature
        federation = find_federation(options["federation"])
        changes = {name: options[name] for name in HELP if options[name] is not None}
        if changes:
            enqueue(configure(federation, changes, actor=COMMAND))
        for name, value in settings_of(federation).items():
            shown = {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
            self.stdout.write(f"{name:<18}{shown}")
