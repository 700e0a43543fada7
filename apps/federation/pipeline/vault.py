"""Scans that lie on the hub: AES-256-GCM under a key of their owner's own, which is erased with them.

An owner is a fine-tuning job or a validation set. The key is a 0600 file under HOSPINTEL_KEYS, the scans lie among the
uploads: a copy of one of the two is of no use. Written and read one scan at a time.
"""

import os
import secrets
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
        scans: the folder of what is sealed, among the uploads.
        gone: what is said where an owner's scans are not here any more.
    """

    def __init__(self, keys: str, scans: str, *, gone: str) -> None:
        self._names, self._gone_text = (keys, scans), gone

    def _keys(self) -> Path:
        return Path(settings.KEYS) / self._names[0]

    def _key_path(self, owner: UUID) -> Path:
        return self._keys() / f"{owner}.key"

    def _prefix(self) -> str:
        return f"{self._names[1]}/"

    def name(self, owner: UUID, scan_id: UUID) -> str:
        """Return the name among the uploads under which a scan lies, sealed."""
        return f"{self._prefix()}{owner}/{scan_id}.bin"

    def create(self, owner: UUID) -> None:
        """Make the key of an owner.

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

    def _cipher(self, owner: UUID) -> AESGCM:
        try:
            return AESGCM(self._key_path(owner).read_bytes())
        except FileNotFoundError as error:
            raise self._gone() from error

    def write(self, owner: UUID, scan_id: UUID, data: bytes) -> None:
        """Keep a scan. Raises VaultError(scan_gone) where the owner's scans were erased."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = nonce + self._cipher(owner).encrypt(nonce, data, _about(owner, scan_id))
        storage.uploads().put(self.name(owner, scan_id), sealed)
        if not self._key_path(owner).exists():
            # It was erased while we wrote, and who erased it may not have seen this scan.
            self.remove(owner, scan_id)
            raise self._gone()

    def read(self, owner: UUID, scan_id: UUID) -> bytes:
        """Return what was written. Raises VaultError: scan_gone, or scan_damaged where the bytes are not those."""
        cipher = self._cipher(owner)
        try:
            sealed = storage.uploads().get(self.name(owner, scan_id))
        except FileNotFoundError as error:
            raise self._gone() from error
        try:
            return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _about(owner, scan_id))
        except (InvalidTag, ValueError) as error:
            raise VaultError("scan_damaged", "A scan is damaged on the hub's disk.") from error

    def remove(self, owner: UUID, scan_id: UUID) -> None:
        """Delete one scan; nothing happens where it is gone."""
        storage.uploads().delete(self.name(owner, scan_id))

    def erase(self, owner: UUID) -> None:
        """Erase the key, then the scans. Safe to call again. Raises OSError or KeyFileError where the disk refuses."""
        signing.erase_key(self._key_path(owner))
        reach("vault.key_erased")
        for scan in storage.uploads().list(f"{self._prefix()}{owner}/"):
            storage.uploads().delete(scan.name)

    def kept(self, older_than: float) -> set[UUID]:
        """Return the owners of which a key or a scan is here since before a time."""
        scans = {UUID(scan.name.split("/")[1]) for scan in storage.uploads().list(self._prefix(), older_than)}
        return scans | {UUID(path.stem) for path in self._keys().glob("*.key") if _modified(path) < older_than}

    def _gone(self) -> VaultError:
        return VaultError("scan_gone", self._gone_text)


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # erased in this moment
        return 0.0


def _about(owner: UUID, scan_id: UUID) -> bytes:
    return DOMAIN + owner.bytes + scan_id.bytes
