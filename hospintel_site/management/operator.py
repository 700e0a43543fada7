"""What the commands share that an operator types on a hub: how they end where there is no hub yet."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.db.utils import OperationalError, ProgrammingError

NEVER_STARTED = "This hub has no database yet. Start it once with make run (manage.py up)."


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
