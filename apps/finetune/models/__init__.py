from apps.finetune.models.lease import Lease
from apps.finetune.models.model_upload import ModelUpload

__all__ = ["Lease", "ModelUpload"]
