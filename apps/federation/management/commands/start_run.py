"""`manage.py start_run`: start a run of a federation."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.federation.pipeline import bootstrap, runs
from apps.federation.pipeline.step import Refusal
from apps.federation.tasks import enqueue


class Command(BaseCommand):
    """Start a run."""

    help = "Start a run: rounds open as soon as enough agents are online."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--federation", default=bootstrap.DEFAULT_SLUG)
        parser.add_argument("--rounds", type=int, required=True)
        parser.add_argument("--epochs", type=int)

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002 - Django's signature
        federation = bootstrap.ensure_federation(options["federation"])
        plan = {"epochs": options["epochs"]} if options["epochs"] is not None else {}
        try:
            run, following = runs.start_run(federation, rounds=options["rounds"], plan=plan, actor="system:command")
        except Refusal as refusal:
            raise CommandError(f"{refusal.detail} ({refusal.code})") from refusal
        enqueue(following)
        self.stdout.write(str(run.pk))
