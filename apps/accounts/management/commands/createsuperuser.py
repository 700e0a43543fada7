"""manage.py createsuperuser: Django's, with an entry in the audit."""

from typing import Any

from django.contrib.auth.management.commands import createsuperuser

from apps.accounts.models import Role, User
from apps.audit.api import record, transaction
from hospintel_site.management.operator import acting


class Command(createsuperuser.Command):
    """Makes an administrator."""

    def handle(self, *args: Any, **options: Any) -> str | None:
        before = list(User.objects.values_list("pk", flat=True))
        said: str | None = super().handle(*args, **options)
        actor = acting(self)
        # After it, in a commit of its own: nobody holds the database while somebody types.
        with transaction():
            for user in User.objects.exclude(pk__in=before).filter(role=Role.ADMIN):
                record("person.create", actor=actor, obj=user, visibility="admin", role=str(Role.ADMIN))
        return said
