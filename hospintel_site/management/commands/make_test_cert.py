"""manage.py make_test_cert."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from hospintel_site.certificates import DAYS, make_test_certificate


class Command(BaseCommand):
    """Makes the files that a trial with TLS needs."""

    help = "Make a test authority and a certificate for localhost and the given names (for trials, not for patients)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", action="append", default=[], help="another host name or address; repeatable")
        parser.add_argument("--out", type=Path, default=settings.VAR / "tls", help="folder for the files")

    def handle(self, *_args: Any, **options: Any) -> None:
        folder = options["out"].absolute()
        try:
            files = make_test_certificate(folder, options["host"])
        except FileExistsError as error:
            raise CommandError(
                f"{error} Delete the folder {folder} to make new ones, or choose another with --out."
            ) from error
        except ValueError as error:
            raise CommandError(f"This is no host name or address: {error}.") from error
        self.stdout.write(f"# For trials: a test authority and a server certificate, valid for {DAYS} days.")
        self.stdout.write(f"# Give agents {files.ca} (hospintel-agent --ca). For the hub:")
        self.stdout.write(f"export HOSPINTEL_TLS_CERT={files.cert}")
        self.stdout.write(f"export HOSPINTEL_TLS_KEY={files.key}")
        if options["host"]:
            names = ",".join(dict.fromkeys(["localhost", "127.0.0.1", *options["host"]]))
            self.stdout.write(f"export HOSPINTEL_ALLOWED_HOSTS={names}")
