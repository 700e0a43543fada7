"""Write the whole Keras model of a version as a file: of the current one always, of an older one on demand."""

import logging
from functools import lru_cache
from pathlib import Path
from uuid import UUID

import numpy as np
import numpy.typing as npt
from django.conf import settings

from apps.audit.api import record, transaction
from apps.federation.models import ModelVersion
from apps.federation.pipeline import model_files, storage
from apps.federation.pipeline.step import Next
from hospintel_core import architectures, backbone, h5
from hospintel_core.failpoints import reach

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
    """Write the .h5 of a version, unless it is there, or the version is no longer current and nobody asked for it."""
    version = ModelVersion.objects.select_related("federation").get(pk=version_id)
    current = version.federation.current_id == version.pk
    if not current and not model_files.is_asked_for(version.digest):
        return []
    if model_files.Written.of(version.digest) is None and not _write(version, current=current):
        return []
    return [Next("export_model", version.pk)] if current else []


def _write(version: ModelVersion, *, current: bool) -> bool:
    """Write it, if there is room on the disk."""
    architecture = architectures.get(version.federation.architecture)
    head = storage.read_head(version.digest, architecture.head_schema)
    model_files.prune(room=0 if current else 1)  # first: their room may be what is missing
    try:
        with storage.models().draft() as draft:
            h5.write_model(draft, architecture, base_arrays(architecture), head)
            written = model_files.keep(version.digest, draft)
    except OSError as error:
        if error.errno not in storage.DISK_FULL:
            raise
        # The tick, or whoever wants it, asks again; what was published stays published.
        logger.exception("the model of %s cannot be written: the disk is full", version)
        return False
    reach("write_model.noted")
    with transaction():
        record("version.model_written", actor="system:worker", obj=version, size=written.size, sha256=written.sha256)
    reach("write_model.committed")
    return True
