from apps.finetune.models.job import Job, Scan
from apps.finetune.models.lease import Lease
from apps.finetune.models.model_upload import ModelUpload

__all__ = ["Job", "Lease", "ModelUpload", "Scan"]
