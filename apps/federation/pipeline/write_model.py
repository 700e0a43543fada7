"""Write the whole Keras model of the current version as global_model.h5, and delete those of older versions."""

import logging
from functools import lru_cache
from pathlib import Path
from uuid import UUID

import numpy as np
import numpy.typing as npt
from django.conf import settings

from apps.audit.api import record, transaction
from apps.federation.models import Federation, ModelVersion
from apps.federation.pipeline import storage
from apps.federation.pipeline.step import Next
from hospintel_core import architectures, backbone, h5

logger = logging.getLogger(__name__)


@lru_cache(maxsize=1)
def _base(weights_path: str) -> list[npt.NDArray[np.float32]]:
    return backbone.find_base_weights(Path(weights_path) if weights_path else None)[1]


def base_arrays(architecture: architectures.Architecture) -> list[npt.NDArray[np.float32]]:
    """Return the frozen base of an architecture, read once a process.

    Raises:
        BaseWeightsError: VGG16's ImageNet weights were not found in any of the four places.
    """
    return _base(str(settings.BASE_WEIGHTS or "")) if architecture.base == "vgg16" else []


def write_model(version_id: UUID) -> list[Next]:
    """Write the .h5 of a version, unless it is there or the version is no longer current."""
    version = ModelVersion.objects.select_related("federation").get(pk=version_id)
    path = storage.model_path(version.digest)
    if version.federation.current_id != version.pk:
        return []
    if not path.exists():
        architecture = architectures.get(version.federation.architecture)
        head = storage.read_head(version.digest, architecture.head_schema)
        path.parent.mkdir(parents=True, exist_ok=True)
        _delete_old(path.parent)  # first: their room may be what is missing
        try:
            h5.write_model(path, architecture, base_arrays(architecture), head)
        except OSError as error:
            if error.errno not in storage.DISK_FULL:
                raise
            # The tick asks again; what was published stays published.
            logger.exception("the model of version %s cannot be written: the disk is full", version.number)
            return []
        with transaction():
            record("version.model_written", actor="system:worker", obj=version, size=path.stat().st_size)
    return [Next("export_model", version.pk)]


def _delete_old(folder: Path) -> None:
    current = set(Federation.objects.values_list("current__digest", flat=True))
    for path in [*folder.glob("*.h5"), *folder.glob("*.wanted")]:
        if path.stem not in current:
            path.unlink(missing_ok=True)
