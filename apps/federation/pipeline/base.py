"""A base that is ready to run, for the worker that may load TensorFlow."""

from functools import lru_cache
from pathlib import Path

from django.conf import settings

from hospintel_core import architectures
from hospintel_core.backbone import Backbone, load_backbone


def backbone(architecture: str) -> Backbone:
    """Return the base of an architecture; a process keeps it for its next piece of work.

    Raises:
        BaseWeightsError: its weights were not found in any of the four places.
    """
    return _loaded(architecture, str(settings.BASE_WEIGHTS or ""))


@lru_cache(maxsize=1)
def _loaded(name: str, weights_path: str) -> Backbone:
    return load_backbone(architectures.get(name), Path(weights_path) if weights_path else None)
