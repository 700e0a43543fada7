"""Django admin: whose scan is being read, without anything of it."""

from django.contrib import admin

from apps.analyse.models import Reading
from apps.audit.admin import LookOnlyAdmin


@admin.register(Reading)
class ReadingAdmin(LookOnlyAdmin):
    """Readings that are under way."""

    list_display = ("id", "user", "created_at", "taken_at")
    list_select_related = ("user",)
    exclude = ("kid", "answer")
