"""Django admin: the hub's processes, and the sums behind its metrics."""

from django.contrib import admin

from apps.audit.admin import LookOnlyAdmin
from hospintel_site.models import Process, Timing


@admin.register(Process)
class ProcessAdmin(LookOnlyAdmin):
    """Which processes have given a sign of life, and when the last one."""

    list_display = ("id", "kind", "version", "started_at", "seen_at")
    list_filter = ("kind",)


@admin.register(Timing)
class TimingAdmin(LookOnlyAdmin):
    """How long requests and tasks take."""

    list_display = ("what", "name", "outcome", "count", "seconds")
    list_filter = ("what", "outcome")
