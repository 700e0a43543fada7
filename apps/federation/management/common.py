"""What the commands of this app share: which federation and which hospital are meant, and how a refusal reads."""

from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from typing import Any

from django.core.management.base import CommandError
from django.db.models import Q

from apps.accounts.models import Hospital
from apps.federation.models import Federation
from apps.federation.pipeline import bootstrap
from apps.federation.pipeline.step import Refusal
from hospintel_site.management.operator import OperatorCommand


class FederationCommand(OperatorCommand):
    """A command whose refusals by the pipeline become errors with their code."""

    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            return super().execute(*args, **options)
        except Refusal as refusal:
            raise CommandError(f"{refusal.detail} ({refusal.code})") from refusal


def add_federation(parser: ArgumentParser) -> None:
    """Add the option --federation."""
    parser.add_argument("--federation", default=bootstrap.DEFAULT_SLUG, help="slug of the joint model (%(default)s)")


def find_federation(slug: str) -> Federation:
    """Return the federation of this name; on a hub without any, the default one is made as at its first start.

    Raises:
        CommandError: there is none of that name; the known ones are listed.
    """
    known = list(Federation.objects.order_by("pk").values_list("pk", flat=True))
    if not known and slug == bootstrap.DEFAULT_SLUG:
        bootstrap.bootstrap()
    elif slug not in known:
        raise CommandError(f"There is no federation {slug!r}. Known: {', '.join(known) or 'none'}.")
    return Federation.objects.select_related("current").get(pk=slug)


def find_hospital(name: str) -> Hospital:
    """Return the hospital of this name or slug.

    Raises:
        CommandError: there is none.
    """
    found = Hospital.objects.filter(Q(name=name) | Q(slug=name)).first()
    if found is None:
        known = ", ".join(Hospital.objects.order_by("name").values_list("slug", flat=True))
        raise CommandError(
            f"There is no hospital {name!r}. Known: {known or 'none'}. manage.py create_hospital makes one."
        )
    return found


def whole(least: int, most: int) -> Callable[[str], int]:
    """Return what reads a whole number of a range from the command line."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            raise ArgumentTypeError(f"{text} is not a whole number from {least} to {most}")
        return number

    return read
