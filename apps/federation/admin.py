"""Django admin for looking: every field of these is written by the pipeline alone."""

from typing import cast

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from apps.accounts.models import User
from apps.accounts.roles import may
from apps.audit.admin import LookOnlyAdmin
from apps.audit.api import Conflict
from apps.federation import models
from apps.federation.pipeline.revoke import revoke
from apps.federation.states import AgentState
from apps.federation.tasks import enqueue


@admin.register(models.Federation)
class FederationAdmin(LookOnlyAdmin):
    """Joint models."""

    list_display = ("slug", "architecture", "min_updates", "current")
    list_select_related = ("current",)


@admin.register(models.Agent)
class AgentAdmin(LookOnlyAdmin):
    """Agents; the token's hash is nobody's business."""

    list_display = ("id", "hospital", "state", "version", "last_seen")
    list_filter = ("state", "hospital")
    list_select_related = ("hospital",)
    exclude = ("token_hash", "public_key")
    readonly_fields = ("fingerprint",)
    actions = ("revoke",)

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """Return whether the action is offered."""
        return may(request.user, "revoke_agents")

    @admin.action(description="Revoke: refused from the next request on", permissions=["revoke"])
    def revoke(self, request: HttpRequest, agents: QuerySet[models.Agent]) -> None:
        """Revoke the chosen agents through the pipeline."""
        actor = cast("User", request.user).actor
        for agent in agents.filter(state=AgentState.ACTIVE).select_related("hospital"):
            try:
                enqueue(revoke(agent, actor=actor))
            except Conflict:
                # Somebody else did in this moment.
                continue
            self.message_user(request, f"{agent} is revoked.")


@admin.register(models.EnrolmentCode)
class EnrolmentCodeAdmin(LookOnlyAdmin):
    """One-time codes, without the code."""

    list_display = ("id", "hospital", "state", "expires_at")
    list_select_related = ("hospital",)
    exclude = ("code_hash",)


@admin.register(models.Run)
class RunAdmin(LookOnlyAdmin):
    """Runs."""

    list_display = ("id", "federation", "rounds", "state", "created_at", "ended_at")
    list_filter = ("state",)


@admin.register(models.Round)
class RoundAdmin(LookOnlyAdmin):
    """Rounds, newest first."""

    ordering = ("-opened_at",)
    list_display = ("id", "run", "number", "attempt", "state", "reason", "opened_at", "ended_at")
    list_filter = ("state",)
    list_select_related = ("run",)
    exclude = ("manifest", "manifest_signature", "evaluation_manifest", "evaluation_signature")


@admin.register(models.Update)
class UpdateAdmin(LookOnlyAdmin):
    """Updates: what came, never what was in it."""

    list_display = ("id", "round", "agent", "state", "code", "num_samples", "size", "received_at")
    list_filter = ("state", "code")
    list_select_related = ("round", "agent__hospital")


@admin.register(models.Attempt)
class AttemptAdmin(LookOnlyAdmin):
    """Steps that were begun and have not ended well; the dashboard has a button for those that are parked."""

    list_display = ("step", "object_id", "tries", "fault", "seen_at", "parked_at")
    list_filter = ("step",)


@admin.register(models.ModelVersion)
class ModelVersionAdmin(LookOnlyAdmin):
    """Versions."""

    list_display = ("number", "federation", "state", "source", "verdict", "published_at")
    list_filter = ("state", "source")


@admin.register(models.HubKey)
class HubKeyAdmin(LookOnlyAdmin):
    """Public halves of the hub's keys."""

    list_display = ("kid", "kind", "state", "created_at", "retired_at")
    readonly_fields = ("fingerprint",)


@admin.register(models.ValidationSet)
class ValidationSetAdmin(LookOnlyAdmin):
    """Validation sets, those that have ended too."""

    exclude = ("domain",)
    list_display = ("id", "federation", "author", "state", "code", "created_at", "ready_at", "erased_at")
    list_filter = ("state",)
    list_select_related = ("author",)


@admin.register(models.ValidationScan)
class ValidationScanAdmin(LookOnlyAdmin):
    """That a set has scans, and what kind of file each was: never a picture, nor what would tell two apart."""

    list_display = ("id", "validation_set", "number", "kind", "width", "height", "created_at")
    list_select_related = ("validation_set",)
    exclude = ("digest", "label")


admin.site.register(models.Participation, LookOnlyAdmin)
admin.site.register(models.Attendance, LookOnlyAdmin)
admin.site.register(models.Evaluation, LookOnlyAdmin)
admin.site.register(models.ValidationReport, LookOnlyAdmin)
