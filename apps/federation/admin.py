"""Django admin for looking: every field of these is written by the pipeline alone."""

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from apps.federation import models


class LookOnly(admin.ModelAdmin):  # type: ignore[type-arg] # generic for the type checker only
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


@admin.register(models.Federation)
class FederationAdmin(LookOnly):
    """Joint models."""

    list_display = ("slug", "architecture", "min_updates", "current")
    list_select_related = ("current",)


@admin.register(models.Agent)
class AgentAdmin(LookOnly):
    """Agents; the token's hash is nobody's business."""

    list_display = ("id", "hospital", "state", "version", "last_seen")
    list_filter = ("state", "hospital")
    list_select_related = ("hospital",)
    exclude = ("token_hash", "public_key")
    readonly_fields = ("fingerprint",)


@admin.register(models.EnrolmentCode)
class EnrolmentCodeAdmin(LookOnly):
    """One-time codes, without the code."""

    list_display = ("id", "hospital", "state", "expires_at")
    list_select_related = ("hospital",)
    exclude = ("code_hash",)


@admin.register(models.Run)
class RunAdmin(LookOnly):
    """Runs."""

    list_display = ("id", "federation", "rounds", "state", "created_at", "ended_at")
    list_filter = ("state",)


@admin.register(models.Round)
class RoundAdmin(LookOnly):
    """Rounds."""

    list_display = ("id", "run", "number", "attempt", "state", "reason", "opened_at", "ended_at")
    list_filter = ("state",)
    list_select_related = ("run",)
    exclude = ("manifest", "manifest_signature", "evaluation_manifest", "evaluation_signature")


@admin.register(models.Update)
class UpdateAdmin(LookOnly):
    """Updates: what came, never what was in it."""

    list_display = ("id", "round", "agent", "state", "code", "num_samples", "size", "received_at")
    list_filter = ("state", "code")
    list_select_related = ("round", "agent__hospital")


@admin.register(models.ModelVersion)
class ModelVersionAdmin(LookOnly):
    """Versions."""

    list_display = ("number", "federation", "state", "source", "verdict", "published_at")
    list_filter = ("state", "source")


@admin.register(models.HubKey)
class HubKeyAdmin(LookOnly):
    """Public halves of the hub's keys."""

    list_display = ("kid", "kind", "state", "created_at", "retired_at")


admin.site.register(models.Participation, LookOnly)
admin.site.register(models.Evaluation, LookOnly)
