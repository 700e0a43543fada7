"""The audit app."""

from typing import Any

from django.apps import AppConfig
from django.db import connections
from django.db.models.signals import post_migrate


def _restore_guards(sender: AppConfig, using: str, **_: Any) -> None:  # noqa: ARG001 - a signal's signature
    from apps.audit import guards  # noqa: PLC0415 - models cannot be imported before the apps are ready
    from apps.audit.models import AuditHead  # noqa: PLC0415

    if guards.HEAD not in connections[using].introspection.table_names():
        return  # other apps are migrated first
    # SQLite drops a table's triggers when a later migration rebuilds it, and `flush` empties the head's table.
    guards.install(connections[using])
    AuditHead.objects.using(using).get_or_create(pk=1)


class AuditConfig(AppConfig):
    """Entries, their chain, and the only way to change anything (`api.transaction`)."""

    name = "apps.audit"
    label = "audit"

    def ready(self) -> None:
        """Keep the table's guards in place after every migration."""
        post_migrate.connect(_restore_guards, sender=self)
