"""The analyse app: one scan read by the current version, in the browser or, chosen knowingly, on the hub."""

from celery.signals import worker_process_init
from django.apps import AppConfig


class AnalyseConfig(AppConfig):
    """The page, and the scans that are on their way to a worker."""

    name = "apps.analyse"
    label = "analyse"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Have the tick forget what is over, and each process of a worker load the model ahead."""
        from apps.analyse import tasks  # noqa: PLC0415 - it needs the models
        from apps.analyse.pipeline.ask import tidy  # noqa: PLC0415 - as above
        from apps.federation.pipeline.tick import SWEEPS  # noqa: PLC0415 - as above

        SWEEPS.append(tidy)
        worker_process_init.connect(tasks.warm_up, dispatch_uid="analyse.warm_up")
