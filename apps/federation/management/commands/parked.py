"""`manage.py parked [retry ID]`: what was given up after three tries; have it tried again."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from apps.federation.management.common import FederationCommand
from apps.federation.parked import parked_steps
from apps.federation.pipeline.attempts import retry
from apps.federation.tasks import enqueue
from hospintel_site.management.operator import acting


class Command(FederationCommand):
    """List and retry parked steps."""

    help = "List the steps that were given up after three tries; `retry ID` has one tried again, `retry all` each."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("verb", nargs="?", choices=["list", "retry"], default="list")
        parser.add_argument("step", nargs="?", help="id of the parked step, its first characters, or `all`")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002 - Django's signature
        found = parked_steps()
        if options["verb"] == "list":
            for one in found:
                self.stdout.write(f"{one.row.pk}  {one.row.step} of {one.row.object_id}: {one.advice.cause}")
            return
        wanted = options["step"] or ""
        chosen = [one for one in found if wanted == "all" or str(one.row.pk).startswith(wanted.lower() or " ")]
        if not chosen or (wanted != "all" and len(chosen) > 1):
            raise CommandError(f"{len(chosen)} parked steps begin with {wanted!r}; without an argument I list them.")
        actor = acting(self)
        for one in chosen:
            enqueue(retry(one.row, actor=actor))
            self.stdout.write(f"{one.row.step} of {one.row.object_id} is tried again")
