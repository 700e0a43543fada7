"""manage.py verify_audit."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.audit.api import verify


class Command(BaseCommand):
    """Checks the audit's chain."""

    help = "Check that no audit entry was changed, removed or put in. Exit code 1 names the first that does not hold."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--from", dest="from_seq", type=int, help="first entry to check")
        parser.add_argument("--to", dest="to_seq", type=int, help="last entry to check")

    def handle(self, *_args: Any, **options: Any) -> None:
        result = verify(options["from_seq"], options["to_seq"])
        if not result.ok:
            raise CommandError(f"The audit does not hold at entry {result.bad_seq}: {result.reason}.")
        self.stdout.write(f"{result.checked} entries hold.")
