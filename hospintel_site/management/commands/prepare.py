"""manage.py prepare."""

from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from apps.federation.pipeline.bootstrap import bootstrap
from hospintel_core.errors import CoreError


def prepare() -> None:
    """Bring the database up to this version and make what every hub has. Safe to call at every start.

    Raises CoreError where the database knows a key whose file is not there.
    """
    call_command("migrate", interactive=False, verbosity=0)
    bootstrap()


class Command(BaseCommand):
    """Prepares the database and the keys, for processes that are started one by one."""

    help = (
        "Apply migrations, make the keys and the first federation where they are missing. `up` does it by itself; "
        "where the processes are started one by one, run it before them, and before those of a new version."
    )

    def handle(self, *_args: Any, **_options: Any) -> None:
        try:
            prepare()
        except CoreError as error:
            raise CommandError(f"{error.detail} {error.hint}".strip()) from error
        self.stdout.write("prepared")
