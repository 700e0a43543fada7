"""The project as an application (checks, the `up` command), and Django admin with our site in it."""

import sys

from django.apps import AppConfig
from django.conf import settings
from django.contrib.admin.apps import AdminConfig

from hospintel_site import logs


class SiteConfig(AppConfig):
    """Carries the system checks and the operator's commands."""

    name = "hospintel_site"
    label = "hospintel_site"

    def ready(self) -> None:
        """Register the checks; have what a long-lived command prints be events, where the log is of events."""
        from hospintel_site.checks import register_all  # noqa: PLC0415 - needs the settings

        register_all()
        if settings.LOG_FORMAT == logs.JSON and sys.argv[1:2] in (["tick"], ["up"]):
            logs.take_over(sys.argv[1])


class HubAdminConfig(AdminConfig):
    """Puts HubAdminSite where `django.contrib.admin.site` is used."""

    default = False
    default_site = "hospintel_site.admin_site.HubAdminSite"
