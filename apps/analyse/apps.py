"""The analyse app: one scan read by the current version, in the browser or, chosen knowingly, on the hub."""

from django.apps import AppConfig


class AnalyseConfig(AppConfig):
    """The page, and the scans that are on their way to a worker."""

    name = "apps.analyse"
    label = "analyse"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Have the tick forget what is over."""
        from apps.analyse.pipeline.ask import tidy  # noqa: PLC0415 - it needs the models
        from apps.federation.pipeline.tick import CHORES  # noqa: PLC0415 - as above

        CHORES.append(tidy)
