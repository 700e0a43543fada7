"""The accounts app."""

from django.apps import AppConfig
from django.contrib.auth.signals import user_logged_in


class AccountsConfig(AppConfig):
    """People, hospitals, memberships, roles, and signing in."""

    name = "apps.accounts"
    label = "accounts"

    def ready(self) -> None:
        """Have each session know when it began."""
        from apps.accounts.pipeline.sessions import note_start  # noqa: PLC0415 - needs the models

        user_logged_in.connect(note_start)
