"""`manage.py start_run`: start a run of a federation."""

from argparse import ArgumentParser
from typing import Any

from apps.federation.management.common import FederationCommand, add_federation, find_federation
from apps.federation.pipeline import runs
from apps.federation.tasks import enqueue
from hospintel_site.management.operator import acting


class Command(FederationCommand):
    """Start a run."""

    help = "Start a run: rounds open as soon as enough agents are online."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_federation(parser)
        parser.add_argument("--rounds", type=int, required=True)
        parser.add_argument("--epochs", type=int)

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002 - Django's signature
        federation = find_federation(options["federation"])
        plan = {"epochs": options["epochs"]} if options["epochs"] is not None else {}
        run, following = runs.start_run(federation, rounds=options["rounds"], plan=plan, actor=acting(self))
        enqueue(following)
        self.stdout.write(str(run.pk))
