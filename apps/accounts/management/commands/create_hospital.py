"""manage.py create_hospital."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from apps.accounts.pipeline import AccountError, create_hospital
from hospintel_site.management.operator import OperatorCommand, acting


class Command(OperatorCommand):
    """Creates a hospital."""

    help = "Create a hospital and print its slug, by which the other commands know it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="as people know it, such as 'North Clinic'")

    def handle(self, *_args: Any, **options: Any) -> None:
        try:
            hospital = create_hospital(options["name"], actor=acting(self))
        except AccountError as error:
            raise CommandError(error.detail) from error
        self.stdout.write(hospital.slug)
