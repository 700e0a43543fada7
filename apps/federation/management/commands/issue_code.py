"""`manage.py issue_code HOSPITAL`: a one-time enrolment code on stdout."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.accounts.models import Hospital
from apps.federation.pipeline import bootstrap, enrol


class Command(BaseCommand):
    """Issue a one-time code for a hospital's agent."""

    help = "Print a one-time enrolment code for a hospital, which joins the federation."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("hospital", help="name of the hospital")
        parser.add_argument("--federation", default=bootstrap.DEFAULT_SLUG)
        parser.add_argument("--minutes", type=int, default=enrol.CODE_MINUTES)
        parser.add_argument("--max-samples", type=int, default=enrol.MAX_SAMPLES)

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002 - Django's signature
        hospital = Hospital.objects.filter(name=options["hospital"]).first()
        if hospital is None:
            raise CommandError(
                f"There is no hospital {options['hospital']!r}. Create it with manage.py create_hospital."
            )
        federation = bootstrap.ensure_federation(options["federation"])
        enrol.join(federation, hospital, actor="system:command")
        code, row = enrol.issue_code(
            hospital, actor="system:command", minutes=options["minutes"], max_samples=options["max_samples"]
        )
        self.stderr.write(f"Valid until {row.expires_at:%Y-%m-%d %H:%M} UTC, once. On the hospital's machine:")
        self.stderr.write("  hospintel-agent enrol --hub <address of this hub> --code <code>")
        self.stdout.write(code)
