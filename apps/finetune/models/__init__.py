from apps.finetune.models.lease import Lease

__all__ = ["Lease"]
