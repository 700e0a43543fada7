"""manage.py reset_second_factor."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from apps.accounts.models import User
from apps.accounts.pipeline import AccountError, second_factor
from hospintel_site.management.operator import OperatorCommand, acting


class Command(OperatorCommand):
    """Removes a person's second factor."""

    help = "Remove the second factor of who lost phone and recovery codes, when no other administrator can."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username")

    def handle(self, *_args: Any, **options: Any) -> None:
        user = User.objects.filter(username=options["username"]).first()
        if user is None:
            raise CommandError(f"There is nobody called {options['username']}.")
        try:
            second_factor.reset(user, actor=acting(self))
        except AccountError as error:
            raise CommandError(error.detail) from error
        self.stdout.write(f"{user} is signed out, and signs in with the password alone until one is set up again.")
