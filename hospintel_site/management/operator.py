"""What the commands share that an operator types on a hub: who acts, and how they end where there is no hub yet."""

import os
import pwd
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.db.utils import OperationalError, ProgrammingError

from apps.audit.api import record, transaction

NEVER_STARTED = "This hub has no database yet. Start it once with make run (manage.py up)."


def acting(command: BaseCommand) -> str:
    """Return as whom a command acts, and write into the audit under which account of this machine it was typed.

    The account's name is for administrators alone, as names of people are: it stands in an entry of its own.
    """
    name = type(command).__module__.rpartition(".")[2]
    actor = f"command:{name}"
    with transaction():
        record("command.run", actor=actor, visibility="admin", command=name, account=account())
    return actor


def account() -> str:
    """Return the account of this machine under which the process runs, and who called sudo for it."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        # In a container, a user without an entry of its own.
        name = str(os.getuid())
    caller = os.environ.get("SUDO_USER", "") if os.getuid() == 0 else ""
    return f"{name[:60]} (sudo by {caller[:60]})" if caller else name[:60]


class OperatorCommand(BaseCommand):
    """A command on a hub that was started before. Raises CommandError on an empty database, not a traceback."""

    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            return super().execute(*args, **options)
        except (OperationalError, ProgrammingError) as error:
            if _has_tables():
                raise
            raise CommandError(NEVER_STARTED) from error


def _has_tables() -> bool:
    tables = connection.introspection
    return set(tables.django_table_names()) <= set(tables.table_names())
