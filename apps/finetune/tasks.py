"""What the workers and the tick do here."""

from apps.finetune.pipeline.lease import expire_leases


def tick() -> None:
    """Do what time does: end the leases whose time is over."""
    expire_leases()
