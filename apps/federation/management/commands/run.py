"""`manage.py run pause|resume|abort`: steer the run in progress."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from apps.federation.management.common import FederationCommand, add_federation, find_federation
from apps.federation.pipeline.runs import STEERING
from apps.federation.queries import active_run
from apps.federation.tasks import enqueue
from hospintel_site.management.operator import acting


class Command(FederationCommand):
    """Steer a federation's run."""

    help = "Pause, resume or abort the run in progress."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("verb", choices=sorted(STEERING))
        add_federation(parser)

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002 - Django's signature
        run = active_run(find_federation(options["federation"]))
        if run is None:
            raise CommandError("No run is active. manage.py start_run starts one.")
        enqueue(STEERING[options["verb"]](run, actor=acting(self)))
        self.stdout.write(f"{run.pk} is {run.state}")
