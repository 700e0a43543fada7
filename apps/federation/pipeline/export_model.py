"""Write a version in the form that the page for a single scan fetches; a worker's job, never the web process's.

The base is the same for all versions and written once; each file's name is its SHA-256, which the page checks.
"""

import logging
from dataclasses import asdict, dataclass
from typing import Any, Self
from uuid import UUID

from django.conf import settings

from apps.audit.api import record, transaction
from apps.federation.models import Federation, ModelVersion
from apps.federation.pipeline import storage
from apps.federation.pipeline.objects import Stored
from apps.federation.pipeline.step import Next
from apps.federation.pipeline.write_model import base_arrays
from hospintel_core import agreement, architectures, browser, weights
from hospintel_core.failpoints import reach

logger = logging.getLogger(__name__)
PREFIX = "browser/"


@dataclass(frozen=True)
class Export:
    """What was written for one version: SHA-256 and bytes of the base's and the head's file.

    `agreement` says how a base of fewer bits did against the exact one on synthetic scans: `hospintel_core.agreement`.
    """

    bits: int
    base: str
    base_size: int
    head: str
    head_size: int
    agreement: dict[str, Any] | None = None

    @classmethod
    def of(cls, digest: str) -> Self | None:
        """Return what was written for the head with this digest and the hub's number of bits; None if nothing yet."""
        note = storage.get_note(_description(digest))
        if note is None:
            return None
        found = cls(**note)
        return found if all(find_file(name) for name in (found.base, found.head)) else None


def find_file(digest: str) -> Stored | None:
    """Return the file with this SHA-256, None where it was not written."""
    return storage.models().find(_name_of(digest))


def read_file(digest: str) -> bytes:
    """Return the bytes with this SHA-256.

    Raises:
        StorageError: `file_missing` or `file_damaged`.
    """
    try:
        data = storage.models().get(_name_of(digest))
    except FileNotFoundError as error:
        raise storage.StorageError("file_missing", f"The file {digest} is not in the model folder.") from error
    if weights.digest(data) != digest:
        raise storage.StorageError("file_damaged", f"The stored file {digest} has been damaged.")
    return data


def want_export(digest: str) -> bool:
    """Return whether the export of a head is missing and nobody asked for it lately; see `model_files.want`."""
    return Export.of(digest) is None and storage.ask_once(_stem(digest) + ".wanted")


def export_model(version_id: UUID) -> list[Next]:
    """Write base and head of a version for the page, unless they are there or the version is no longer current."""
    version = ModelVersion.objects.select_related("federation").get(pk=version_id)
    if version.federation.current_id != version.pk or Export.of(version.digest) is not None:
        return []
    architecture = architectures.get(version.federation.architecture)
    exact = base_arrays(architecture), storage.read_head(version.digest, architecture.head_schema)
    bits = settings.ANALYSE_BITS
    base, head = browser.pack_base(exact[0], bits), browser.pack_head(exact[1])
    measured = None
    if bits != browser.FINE and architecture.base != "pixels":
        scans = agreement.synthetic_scans(architecture)
        measured = asdict(agreement.measure(architecture, exact, (base, head), bits, scans))
    try:
        written = Export(bits, _store(base), len(base), _store(head), len(head), measured)
        reach("export_model.kept")
        storage.put_note(_description(version.digest), asdict(written))
    except OSError as error:
        if error.errno not in storage.DISK_FULL:
            raise
        # The page asks again; what was published stays published.
        logger.exception("version %s cannot be written for the page: the disk is full", version.number)
        return []
    reach("export_model.described")
    _delete_old()
    with transaction():
        record("version.exported", actor="system:worker", obj=version, size=len(base) + len(head))
    return []


def _stem(digest: str) -> str:
    return f"{PREFIX}{digest}-{settings.ANALYSE_BITS}"


def _description(digest: str) -> str:
    return _stem(digest) + ".json"


def _name_of(digest: str) -> str:
    return f"{PREFIX}{digest}.safetensors"


def _store(data: bytes) -> str:
    digest = weights.digest(data)
    if find_file(digest) is None:
        storage.models().put(_name_of(digest), data)
    return digest


def _delete_old() -> None:
    """Delete what belongs to no current version."""
    digests = Federation.objects.exclude(current=None).values_list("current__digest", flat=True)
    current = {digest: found for digest in digests if (found := Export.of(digest)) is not None}
    kept = {_name_of(name) for found in current.values() for name in (found.base, found.head)}
    kept |= {_description(digest) for digest in digests}
    for stored in storage.models().list(PREFIX):
        if stored.name not in kept:
            storage.models().delete(stored.name)
