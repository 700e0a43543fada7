"""Django admin: the entries to look at, and the base class that puts what is done in admin into the audit."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.db.models import Model, QuerySet
from django.http import HttpRequest

from apps.audit.api import moment, record, transaction
from apps.audit.checkpoints import note_of
from apps.audit.models import AuditEntry, AuditHead, Checkpoint


class FilteredModelAdmin(admin.ModelAdmin):  # type: ignore[type-arg] # generic for the type checker only
    """Lists are filtered by what they offer to filter by, and by nothing else that a query could name.

    Django lets an address filter by any field of the row itself, hidden ones too: a hash could be found out bit by bit.
    """

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        """Return whether a list may be filtered so."""
        offered = lookup.partition("__")[0] in self.list_filter
        return offered and super().lookup_allowed(lookup, value, request)  # type: ignore[arg-type] # Django takes None


class AuditedModelAdmin(FilteredModelAdmin):
    """Every addition, change and deletion made here becomes an audit entry in the same commit."""

    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> LogEntry:
        """Record an addition."""
        with transaction():
            self._record(request, obj, "add")
            return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> LogEntry:
        """Record a change, and which fields it touched."""
        with transaction():
            self._record(request, obj, "change", fields=_fields(message))
            return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        """Record deletions; Django calls this just before them."""
        with transaction():
            for obj in queryset:
                self._record(request, obj, "delete")
            return super().log_deletions(request, queryset)

    def _record(self, request: HttpRequest, obj: Model, verb: str, fields: str | None = None) -> None:
        name = str(self.opts.model_name)
        record(f"admin.{name}.{verb}", actor=f"user:{request.user.pk}", obj=obj, visibility="admin", fields=fields)


class LookOnlyAdmin(FilteredModelAdmin):
    """No adding, no changing, no deleting."""

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002 - Django's signature
        """Refuse."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002
        """Refuse."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002
        """Refuse."""
        return False


@admin.register(AuditEntry)
class AuditEntryAdmin(LookOnlyAdmin):
    """What happened, newest first."""

    list_display = ("seq", "action", "actor", "object", "outcome", "visibility")
    list_filter = ("outcome", "action")
    search_fields = ("=actor", "=object", "action")
    ordering = ("-seq",)
    exclude = ("body",)
    readonly_fields = ("content",)
    show_full_result_count = False

    @admin.display(description="body")
    def content(self, entry: AuditEntry) -> str:
        """Show the body as it was hashed."""
        return bytes(entry.body).decode()


@admin.register(AuditHead)
class AuditHeadAdmin(LookOnlyAdmin):
    """Where the chain ends."""

    list_display = ("seq", "entry_hash")


@admin.register(Checkpoint)
class CheckpointAdmin(LookOnlyAdmin):
    """What was signed."""

    list_display = ("seq", "signed_at")
    ordering = ("-seq",)
    exclude = ("body", "signature")
    readonly_fields = ("line",)

    @admin.display(description="signed")
    def signed_at(self, checkpoint: Checkpoint) -> datetime:
        """Show when."""
        return moment(checkpoint.ts_us)

    @admin.display(description="line to keep")
    def line(self, checkpoint: Checkpoint) -> str:
        """Show the checkpoint as it is exported."""
        return note_of(checkpoint).to_line()


def _fields(message: object) -> str:
    """Return the names of the changed fields: what Django's message says, without any value."""
    parts = message if isinstance(message, list) else []
    names = [name for part in parts for name in part.get("changed", {}).get("fields", [])]
    return ", ".join(str(name) for name in names)[:200]
