"""Scans that lie on the hub: AES-256-GCM under a key of their owner's own, which is erased with them.

An owner is a fine-tuning job or a validation set. The key is a 0600 file under HOSPINTEL_KEYS, the scans are files in
the uploads folder: a copy of one of the two is of no use. Written and read one scan at a time.
"""

import os
import secrets
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings

from apps.federation.pipeline import storage
from hospintel_core import signing
from hospintel_core.errors import CoreError
from hospintel_core.failpoints import reach

NONCE_BYTES = 12
DOMAIN = b"hospintel scan v1"


class VaultError(CoreError):
    """Scans that cannot be reached any more."""

    codes = frozenset({"scan_gone", "scan_damaged"})


class Vault:
    """The scans of one kind of owner.

    Args:
        keys: the folder of their keys, under HOSPINTEL_KEYS.
        scans: the folder of what is sealed, in the uploads folder.
        gone: what is said where an owner's scans are not here any more.
    """

    def __init__(self, keys: str, scans: str, *, gone: str) -> None:
        self._names, self._gone_text = (keys, scans), gone

    def _keys(self) -> Path:
        return Path(settings.KEYS) / self._names[0]

    def _key_path(self, owner: UUID) -> Path:
        return self._keys() / f"{owner}.key"

    def _scans(self) -> Path:
        return Path(settings.UPLOAD_DIR) / self._names[1]

    def path(self, owner: UUID, scan_id: UUID) -> Path:
        """Return where a scan lies, sealed."""
        return self._scans() / str(owner) / f"{scan_id}.bin"

    def create(self, owner: UUID) -> None:
        """Make the key and the folder of an owner; neither stays where the other cannot be made.

        Raises:
            Refusal: `hub_disk_full` (507).
        """
        try:
            self._make(owner)
        except OSError as error:
            self.erase(owner)
            raise storage.disk_refusal(error) from error

    def _make(self, owner: UUID) -> None:
        self._keys().mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._key_path(owner), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(AESGCM.generate_key(bit_length=256))
            file.flush()
            os.fsync(file.fileno())
        (self._scans() / str(owner)).mkdir(mode=0o700, parents=True)

    def _cipher(self, owner: UUID) -> AESGCM:
        try:
            return AESGCM(self._key_path(owner).read_bytes())
        except FileNotFoundError as error:
            raise self._gone() from error

    def write(self, owner: UUID, scan_id: UUID, data: bytes) -> None:
        """Keep a scan. Raises VaultError(scan_gone) where the owner's scans were erased."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = nonce + self._cipher(owner).encrypt(nonce, data, _about(owner, scan_id))
        path = self.path(owner, scan_id)
        if not path.parent.is_dir():
            raise self._gone()
        storage.write_file(path, sealed)

    def read(self, owner: UUID, scan_id: UUID) -> bytes:
        """Return what was written. Raises VaultError: scan_gone, or scan_damaged where the bytes are not those."""
        cipher = self._cipher(owner)
        try:
            sealed = self.path(owner, scan_id).read_bytes()
        except FileNotFoundError as error:
            raise self._gone() from error
        try:
            return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _about(owner, scan_id))
        except (InvalidTag, ValueError) as error:
            raise VaultError("scan_damaged", "A scan is damaged on the hub's disk.") from error

    def remove(self, owner: UUID, scan_id: UUID) -> None:
        """Delete one scan; nothing happens where it is gone."""
        self.path(owner, scan_id).unlink(missing_ok=True)

    def erase(self, owner: UUID) -> None:
        """Erase the key, then the scans. Safe to call again. Raises OSError or KeyFileError where the disk refuses."""
        signing.erase_key(self._key_path(owner))
        reach("vault.key_erased")
        folder = self._scans() / str(owner)
        # Who ended it and the tick may both be at it: what the other has deleted is deleted.
        with suppress(FileNotFoundError):
            for path in list(folder.iterdir()):
                path.unlink(missing_ok=True)
            folder.rmdir()

    def kept(self, older_than: float) -> set[UUID]:
        """Return the owners of which a key or a scan is here since before a time."""
        found = [*self._keys().glob("*.key"), *self._scans().glob("*")]
        return {UUID(path.stem) for path in found if storage.modified(path) < older_than}

    def _gone(self) -> VaultError:
        return VaultError("scan_gone", self._gone_text)


def _about(owner: UUID, scan_id: UUID) -> bytes:
    return DOMAIN + owner.bytes + scan_id.bytes
