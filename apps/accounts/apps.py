"""The accounts app."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """People, hospitals, memberships, roles, and signing in."""

    name = "apps.accounts"
    label = "accounts"
