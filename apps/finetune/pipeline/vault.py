"""Where a job's scans lie: AES-256-GCM under a key of the job's own, which is erased when the job ends.

The key is a 0600 file under HOSPINTEL_KEYS, the scans are files in the uploads folder: a copy of one of the two is of
no use. Written and read one scan at a time.
"""

import os
import secrets
import shutil
from pathlib import Path
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings

from apps.federation.pipeline import storage
from hospintel_core import signing
from hospintel_core.errors import CoreError

NONCE_BYTES = 12
DOMAIN = b"hospintel scan v1"


class VaultError(CoreError):
    """Scans that cannot be reached any more."""

    codes = frozenset({"scan_gone", "scan_damaged"})


def _keys() -> Path:
    return Path(settings.KEYS) / "jobs"


def _key_path(job_id: UUID) -> Path:
    return _keys() / f"{job_id}.key"


def _scans() -> Path:
    return Path(settings.UPLOAD_DIR) / "scans"


def _path(job_id: UUID, scan_id: UUID) -> Path:
    return _scans() / str(job_id) / f"{scan_id}.bin"


def create(job_id: UUID) -> None:
    """Make the key and the folder of a job."""
    _keys().mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(_key_path(job_id), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(AESGCM.generate_key(bit_length=256))
        file.flush()
        os.fsync(file.fileno())
    (_scans() / str(job_id)).mkdir(mode=0o700, parents=True)


def _cipher(job_id: UUID) -> AESGCM:
    try:
        return AESGCM(_key_path(job_id).read_bytes())
    except FileNotFoundError as error:
        raise _gone() from error


def write(job_id: UUID, scan_id: UUID, png: bytes) -> None:
    """Keep a scan. Raises VaultError(scan_gone) where the job has ended."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    sealed = nonce + _cipher(job_id).encrypt(nonce, png, _about(job_id, scan_id))
    path = _path(job_id, scan_id)
    if not path.parent.is_dir():
        raise _gone()
    storage.write_file(path, sealed)


def read(job_id: UUID, scan_id: UUID) -> bytes:
    """Return a scan's PNG. Raises VaultError: scan_gone, or scan_damaged where the bytes are not those written."""
    cipher = _cipher(job_id)
    try:
        sealed = _path(job_id, scan_id).read_bytes()
    except FileNotFoundError as error:
        raise _gone() from error
    try:
        return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _about(job_id, scan_id))
    except (InvalidTag, ValueError) as error:
        raise VaultError("scan_damaged", "A scan is damaged on the hub's disk.") from error


def remove(job_id: UUID, scan_id: UUID) -> None:
    """Delete one scan; nothing happens where it is gone."""
    _path(job_id, scan_id).unlink(missing_ok=True)


def erase(job_id: UUID) -> None:
    """Erase the key, then the scans. Safe to call again. Raises OSError or KeyFileError where the disk refuses."""
    signing.erase_key(_key_path(job_id))
    folder = _scans() / str(job_id)
    if folder.exists():
        shutil.rmtree(folder)


def kept(older_than: float) -> set[UUID]:
    """Return the jobs of which a key or a scan is here since before a time."""
    found = [*_keys().glob("*.key"), *_scans().glob("*")]
    return {UUID(path.stem) for path in found if storage.modified(path) < older_than}


def _about(job_id: UUID, scan_id: UUID) -> bytes:
    return DOMAIN + job_id.bytes + scan_id.bytes


def _gone() -> VaultError:
    return VaultError("scan_gone", "The job has ended, and its scans are deleted.")
