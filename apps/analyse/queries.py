"""What the page is told of the current version."""

from typing import Any

from django.urls import reverse

from apps.federation.models import ModelVersion
from apps.federation.pipeline.export_model import Export
from apps.federation.pipeline.validation import looks
from hospintel_core import architectures


def described(version: ModelVersion, export: Export) -> dict[str, Any]:
    """Return all that the page needs to read a scan with a version: files with their digests, layers, classes.

    `temperature` is null where no validation set gave the version one. `domain` is what a scan is compared with
    (`hospintel_core.domain.Domain` in JSON types), or null, and `no_domain` then says why (`Looks.why`).
    """
    known = looks(version.federation_id)
    architecture = architectures.get(version.federation.architecture)
    return {
        "version": version.number,
        "digest": version.digest,
        "classes": version.federation.classes,
        "input": {"size": architecture.input_size, "channels": architecture.channels},
        "base": {
            "kind": architecture.base,
            "bits": export.bits,
            "agreement": export.agreement,
            **_file(export.base, export.base_size),
        },
        "head": _file(export.head, export.head_size),
        "layers": [{"name": layer.name, "activation": layer.activation} for layer in architecture.layers],
        "temperature": version.calibration.get("temperature"),
        "domain": known.domain,
        "no_domain": known.why,
    }


def _file(digest: str, size: int) -> dict[str, Any]:
    return {"url": reverse("analyse-file", args=[digest]), "digest": digest, "size": size}
