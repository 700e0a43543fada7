"""The finetune app: the workbench where a doctor trains the joint model further on scans of their own."""

from django.apps import AppConfig


class FinetuneConfig(AppConfig):
    """The lease, and the jobs that are done under it."""

    name = "apps.finetune"
    label = "finetune"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Have signing out release the lease, the tick do what time does here, and pages learn how far a job is."""
        from apps.federation.live import WORK  # noqa: PLC0415 - it needs the models
        from apps.federation.pipeline.tick import CHORES, SWEEPS  # noqa: PLC0415 - as above
        from apps.finetune import queries, signals, tasks  # noqa: PLC0415 - as above

        signals.connect()
        CHORES.append(tasks.tick)
        SWEEPS.append(tasks.sweep)
        WORK.append(queries.work)
