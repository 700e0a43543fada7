"""`manage.py issue_code HOSPITAL`: a one-time enrolment code on stdout, and on stderr how it is used."""

from argparse import ArgumentParser
from typing import Any

from apps.federation.addresses import Way, enrol_line, way_in
from apps.federation.management.common import (
    FederationCommand,
    add_federation,
    find_federation,
    find_hospital,
    whole,
)
from apps.federation.pipeline import enrol, keys
from hospintel_site.management.operator import acting


class Command(FederationCommand):
    """Issue a one-time code for a hospital's agent."""

    help = "Print a one-time enrolment code for a hospital, which joins the federation."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("hospital", help="name or slug of the hospital")
        parser.add_argument("--address", default="", help="how the hospital reaches this hub, like https://hub.example")
        add_federation(parser)
        parser.add_argument("--minutes", type=whole(1, enrol.MOST_MINUTES), default=enrol.CODE_MINUTES)
        parser.add_argument("--max-samples", type=whole(1, enrol.MOST_SAMPLES), default=enrol.MAX_SAMPLES)

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002 - Django's signature
        hospital = find_hospital(options["hospital"])
        federation = find_federation(options["federation"])
        keys.ensure_keys()
        actor = acting(self)
        enrol.join(federation, hospital, actor=actor)
        code, row = enrol.issue_code(
            hospital, actor=actor, minutes=options["minutes"], max_samples=options["max_samples"]
        )
        self.stderr.write(f"Valid until {row.expires_at:%Y-%m-%d %H:%M} UTC, once. On the hospital's machine:")
        way = way_in()
        way = Way(options["address"], way.ca) if options["address"] else way
        self.stderr.write(f"  {enrol_line(way)}")
        if way.ca:
            self.stderr.write(f"The hub's certificate is of its own making: the hospital needs {way.ca} too.")
        if way.only_here:
            self.stderr.write("This address leads here from this machine alone. For another one give --address.")
        self.stderr.write(
            "It asks for the code. Send line and code on different ways: by telephone, or by two letters."
        )
        self.stdout.write(code)
