"""Django admin for looking: every field of these is written by the pipeline alone."""

from django.contrib import admin

from apps.audit.admin import LookOnlyAdmin
from apps.finetune import models


@admin.register(models.Lease)
class LeaseAdmin(LookOnlyAdmin):
    """Leases, those that have ended too."""

    list_display = ("token", "federation", "holder", "state", "since", "until")
    list_filter = ("state",)
    list_select_related = ("holder",)


@admin.register(models.ModelUpload)
class ModelUploadAdmin(LookOnlyAdmin):
    """Models that people uploaded, and what became of them."""

    list_display = ("id", "federation", "author", "state", "code", "size", "received_at")
    list_filter = ("state",)
    list_select_related = ("author",)


@admin.register(models.Job)
class JobAdmin(LookOnlyAdmin):
    """Fine-tuning jobs; their scans are for their owners alone."""

    list_display = ("id", "federation", "owner", "base", "state", "code", "created_at", "erased_at")
    list_filter = ("state",)
    list_select_related = ("owner", "base")
    exclude = ("claim",)


@admin.register(models.Scan)
class ScanAdmin(LookOnlyAdmin):
    """That a job has scans, and what kind of file each was: never a picture, nor what would tell two apart."""

    list_display = ("id", "job", "number", "kind", "width", "height", "created_at")
    list_select_related = ("job",)
    exclude = ("digest", "label")
