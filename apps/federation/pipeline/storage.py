"""Files of the hub: heads by digest, sealed updates; what the rest of the hub asks of `objects.py`."""

import json
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.signing import BadSignature, Signer

from apps.federation.pipeline.folder import Folder
from apps.federation.pipeline.objects import Objects, StorageAwayError, Stored
from apps.federation.pipeline.step import Refusal
from hospintel_core import weights
from hospintel_core.errors import CoreError
from hospintel_site import bodies
from hospintel_site.env import S3

logger = logging.getLogger(__name__)
WANT_SECONDS = 15
PROBE_SECONDS = 5
DISK_FULL = bodies.DISK_FULL


class StorageError(CoreError):
    """A stored head, or a file for the page, that is missing or damaged."""

    codes = frozenset({"head_missing", "head_damaged", "file_missing", "file_damaged"})


def models() -> Objects:
    """Return where heads lie, and what is written of them for people and pages."""
    return _bucket("models/") or Folder(Path(settings.MODEL_DIR))


def uploads() -> Objects:
    """Return where what is sent to the hub lies."""
    return _bucket("uploads/") or Folder(Path(settings.UPLOAD_DIR), private=True)


def _bucket(prefix: str) -> Objects | None:
    if settings.S3 is None:
        return None
    from apps.federation.pipeline.bucket import Bucket  # noqa: PLC0415 - boto3 takes a second, and need not be there

    return Bucket(settings.S3, prefix)


def probe() -> str:
    """Return why the storage cannot be used now, "" where it can; asked of a bucket at most every few seconds."""
    if settings.S3 is not None:
        return _probed(settings.S3, int(time.monotonic() / PROBE_SECONDS))
    return models().probe() or uploads().probe()


@lru_cache(maxsize=1)
def _probed(place: S3, moment: int) -> str:  # noqa: ARG001 - what is found is kept until the next
    return uploads().probe()


def is_passing(error: OSError) -> bool:
    """Return whether what failed is to be tried again later: the disk is full, or the storage does not answer."""
    return error.errno in DISK_FULL or isinstance(error, StorageAwayError)


def disk_refusal(error: OSError) -> Refusal:
    """Return what a caller is told whose upload has no room; anything else that went wrong is raised again."""
    if error.errno not in DISK_FULL:
        raise error
    logger.error("The disk of the upload folder is full")
    return Refusal(bodies.FULL_CODE, bodies.FULL_DETAIL, 507)


def head_name(digest: str) -> str:
    """Return the name of the head with this SHA-256 among the models."""
    return f"heads/{digest}.safetensors"


def find_head(digest: str) -> Stored | None:
    """Return the head with this SHA-256, None where it is not here."""
    return models().find(head_name(digest))


def store_head(data: bytes) -> str:
    """Store a head's safetensors bytes under their SHA-256 and return it."""
    digest = weights.digest(data)
    if find_head(digest) is None:
        models().put(head_name(digest), data)
    return digest


def read_head(digest: str, schema: weights.Schema) -> weights.Arrays:
    """Return the arrays of a stored head.

    Raises:
        StorageError: the file is missing (`head_missing`) or its bytes no longer have this digest (`head_damaged`).
        WeightsError: it is not a head of this schema.
    """
    try:
        data = models().get(head_name(digest))
    except FileNotFoundError as error:
        raise StorageError("head_missing", f"The head {digest} is not in the model folder.") from error
    if weights.digest(data) != digest:
        raise StorageError("head_damaged", f"The stored head {digest} has been damaged.")
    return weights.loads(data, schema)[0]


def put_note(name: str, facts: Mapping[str, object]) -> None:
    """Put a note on model files, signed: who may write to the storage alone cannot say that other files are ours."""
    models().put(name, _signer(name).sign(json.dumps(facts)).encode())


def get_note(name: str) -> dict[str, Any] | None:
    """Return what a note says; None where there is none, or it is damaged or not ours."""
    try:
        found: dict[str, Any] = json.loads(_signer(name).unsign(models().get(name).decode()))
    except FileNotFoundError:
        return None
    except (BadSignature, ValueError):
        logger.exception("The note %s is damaged; what it is about is written again", name)
        return None
    return found


def _signer(name: str) -> Signer:
    return Signer(salt=f"hospintel storage {name}")


def ask_once(note: str) -> bool:
    """Return whether nobody asked for a model file lately, and note that it was asked for now."""
    found = models().find(note)
    if found is not None and found.modified > time.time() - WANT_SECONDS:
        return False
    # Without room for the note it is asked for more often, that is all.
    with suppress(OSError):
        models().put(note, b"", lasting=False)
    return True


def sealed_name(update_id: UUID) -> str:
    """Return the name of an update's ciphertext among the uploads, where it lies until its round ends."""
    return f"sealed/{update_id}.hspu"


def store_sealed(update_id: UUID, data: bytes) -> None:
    """Store the ciphertext of an update, durably."""
    uploads().put(sealed_name(update_id), data)


def read_sealed(update_id: UUID) -> bytes:
    """Return the ciphertext of an update. Raises FileNotFoundError."""
    return uploads().get(sealed_name(update_id))


def discard_sealed(update_id: UUID) -> None:
    """Delete the ciphertext of an update; nothing happens where it is gone already."""
    uploads().delete(sealed_name(update_id))


def forgotten_sealed(before: float) -> set[UUID]:
    """Return the updates whose ciphertext is older than a time."""
    return {UUID(found.stem) for found in uploads().list("sealed/", before)}
