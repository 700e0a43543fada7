"""The federation app: agents, runs, rounds, updates and versions."""

from django.apps import AppConfig


class FederationConfig(AppConfig):
    """Rounds of federated averaging, from an agent's enrolment to a published version."""

    name = "apps.federation"
    label = "federation"
    default_auto_field = "django.db.models.BigAutoField"
