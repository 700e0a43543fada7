"""manage.py changepassword: Django's, with an entry in the audit."""

import getpass
from typing import Any

from django.contrib.auth.management.commands import changepassword

from apps.accounts.models import SessionEnd, User, ending
from apps.accounts.pipeline.people import end_tokens
from apps.audit.api import record, transaction
from hospintel_site.management.operator import acting


class Command(changepassword.Command):
    """Changes a person's password; the entry also ends what they have open."""

    def handle(self, *args: Any, **options: Any) -> str | None:
        said: str | None = super().handle(*args, **options)
        user = User.objects.get(username=options["username"] or getpass.getuser())
        actor = acting(self)
        # After it, in a commit of its own: nobody holds the database while somebody types.
        with transaction():
            User.objects.filter(pk=user.pk).update(**ending(SessionEnd.PASSWORD))
            end_tokens(user)
            record("person.password", actor=actor, obj=user, visibility="admin")
        return said
