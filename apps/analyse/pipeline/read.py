"""A worker reads a scan: taken once, erased before it is opened, read in memory, answered for one page alone."""

import base64
import io
import json
import threading
import time
from functools import lru_cache
from typing import Any
from uuid import UUID

import numpy as np
from django.utils import timezone
from PIL import Image

from apps.analyse.models import Reading
from apps.analyse.pipeline.ask import sealed_name
from apps.analyse.pipeline.sealed import open_scan, seal_answer
from apps.audit.api import record, transaction
from apps.federation.models import Federation, ModelVersion
from apps.federation.pipeline import keys, storage
from apps.federation.pipeline.bootstrap import DEFAULT_SLUG
from apps.federation.pipeline.export_model import Export, read_file
from apps.federation.pipeline.step import Refusal
from apps.federation.pipeline.validation import looks
from hospintel_core import architectures, browser, imaging
from hospintel_core.domain import Domain, summary
from hospintel_core.errors import CoreError
from hospintel_core.reading import Base, Floats, Reader, load_base

WORKER = "system:worker"
# As large as the page shows it.
LARGEST_SIDE = 640
_LOADING = threading.Lock()


def read(reading_id: UUID) -> None:
    """Read the scan of a reading that nobody has taken yet; else nothing happens."""
    if not Reading.objects.filter(pk=reading_id, taken_at=None).update(taken_at=timezone.now()):
        return
    reading = Reading.objects.get(pk=reading_id)
    data = storage.uploads().get(sealed_name(reading.pk))
    storage.uploads().delete(sealed_name(reading.pk))
    began = time.monotonic()
    try:
        scan, key = open_scan(data, keys.rsa_private(reading.kid))
    except Refusal as refusal:
        # There is no key to answer under: the page is told by the state of its reading.
        _finish(reading, b"", outcome="refused", code=refusal.code)
        return
    try:
        answer, outcome = _read(scan), {"outcome": "ok"}
    except (CoreError, Refusal) as error:
        answer = {"code": error.code, "detail": error.detail}
        outcome = {"outcome": "refused", "code": error.code}
    milliseconds = round(1000 * (time.monotonic() - began))
    sealed = seal_answer(json.dumps({**answer, "milliseconds": milliseconds}).encode(), key)
    _finish(reading, sealed, milliseconds=milliseconds, **outcome)


def _finish(reading: Reading, sealed: bytes, **facts: Any) -> None:
    with transaction():
        if Reading.objects.filter(pk=reading.pk, answer=None).update(answer=sealed):
            record("reading.answer", actor=WORKER, obj=reading, visibility="admin", **facts)


def _read(scan: bytes) -> dict[str, Any]:
    image = imaging.read_scan(scan)
    version, reader = current_reader()
    pixels = imaging.to_input(image, architectures.get(version.federation.architecture))
    found = reader.read(pixels, version.calibration.get("temperature") or 1.0)
    return {
        "probabilities": found.probabilities,
        "maps": [[round(value, 5) for value in one] for one in found.maps],
        "side": found.side,
        "domain": _compared(version, found.features),
        "model": _model(version),
        "picture": _picture(image),
    }


def current_reader() -> tuple[ModelVersion, Reader]:
    """Return the current version and what reads scans with it: loaded once, kept from scan to scan.

    Raises:
        Refusal: `model_not_written` (503).
    """
    version = Federation.objects.select_related("current__federation").get(pk=DEFAULT_SLUG).current
    export = None if version is None else Export.of(version.digest)
    if version is None or export is None:
        raise Refusal("model_not_written", "The worker is writing the model. Ask again in a moment.", 503)
    # Who comes while it is being loaded waits for it: two at once would need twice the memory.
    with _LOADING:
        return version, _reader(version.federation.architecture, export.base, export.bits, export.head)


@lru_cache(maxsize=1)
def _reader(architecture: str, base: str, bits: int, head: str) -> Reader:
    """Build the reader of a version from the very files that the page fetches."""
    arrays = browser.unpack(read_file(head))
    return Reader(architectures.get(architecture), _base(architecture, base, bits), arrays)


@lru_cache(maxsize=1)
def _base(architecture: str, base: str, bits: int) -> Base:
    """Load a base, which takes a second: a new version has another head alone."""
    return load_base(architectures.get(architecture), browser.unpack_base(read_file(base), bits))


def _compared(version: ModelVersion, features: Floats) -> dict[str, Any] | None:
    """Return how far a scan is from those of the validation set, as domain.js does; None where there is no check."""
    told = looks(version.federation_id)
    if told.domain is None:
        return None
    known = Domain.from_dict(told.domain, len(version.federation.classes))
    summaries = summary(architectures.get(version.federation.architecture), features[None])
    distance = float(known.distances(summaries)[0])
    return {"distance": distance, "unlike": distance > known.threshold}


def _model(version: ModelVersion) -> dict[str, Any]:
    return {
        "version": version.number,
        "digest": version.digest,
        "classes": version.federation.classes,
        "temperature": version.calibration.get("temperature"),
        "no_domain": looks(version.federation_id).why,
    }


def _picture(image: Image.Image) -> str:
    """Return the scan as the page draws it, a PNG in base64: pixels alone, whatever else the file said.

    `image` is made smaller in place: a second copy of the largest scan would take 75 MB.
    """
    image.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    clean, file = Image.fromarray(np.asarray(image)), io.BytesIO()
    clean.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
