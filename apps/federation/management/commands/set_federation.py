"""`manage.py set_federation`: show or change the limits of a joint model."""

from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from apps.federation.management.common import FederationCommand, add_federation, find_federation
from apps.federation.pipeline.configure import configure, settings_of
from apps.federation.states import Selection
from apps.federation.tasks import enqueue
from apps.federation.words import SETTINGS
from hospintel_core.aggregate import RULES
from hospintel_site.management.operator import acting


def yes_or_no(text: str) -> bool:
    """Return what was meant. Raises ArgumentTypeError."""
    if text not in {"yes", "no"}:
        raise ArgumentTypeError(f"{text!r} is neither yes nor no")
    return text == "yes"


KINDS: dict[str, Any] = {
    "selection": str,
    "selection_fraction": float,
    "over_select": float,
    "gate_margin": float,
    "server_momentum": float,
    "learning_rate": float,
    "rule": str,
    "mirror": yes_or_no,
}
CHOICES = {"rule": sorted(RULES), "selection": Selection.values}


class Command(FederationCommand):
    """Show or change a federation's settings."""

    help = "Change settings of a federation; without options, show them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_federation(parser)
        for name, text in SETTINGS.items():
            choices = CHOICES.get(name)
            option = f"--{name.replace('_', '-')}"
            parser.add_argument(option, type=KINDS.get(name, int), choices=choices, help=text)

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002 - Django's signature
        federation = find_federation(options["federation"])
        changes = {name: options[name] for name in SETTINGS if options[name] is not None}
        if changes:
            enqueue(configure(federation, changes, actor=acting(self)))
        settings = settings_of(federation)
        width = max(map(len, settings)) + 2
        for name, value in settings.items():
            shown = {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
            self.stdout.write(f"{name:<{width}}{shown}")
