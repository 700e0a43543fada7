"""The project as an application (checks, the `up` command), and Django admin with our site in it."""

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class SiteConfig(AppConfig):
    """Carries the system checks and the operator's commands."""

    name = "hospintel_site"
    label = "hospintel_site"

    def ready(self) -> None:
        """Register the checks."""
        from hospintel_site.checks import register_all  # noqa: PLC0415 - needs the settings

        register_all()


class HubAdminConfig(AdminConfig):
    """Puts HubAdminSite where `django.contrib.admin.site` is used."""

    default = False
    default_site = "hospintel_site.admin_site.HubAdminSite"
