"""Ed25519 signatures (RFC 8032) with a domain each, key ids, and private key files."""

import hashlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar, cast

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from hospintel_core import files
from hospintel_core.errors import KeyFileError, SignatureError

Buffer = bytes | bytearray | memoryview
PublicKey = RSAPublicKey | Ed25519PublicKey | X25519PublicKey
PrivateKey = RSAPrivateKey | Ed25519PrivateKey | X25519PrivateKey
K = TypeVar("K", RSAPrivateKey, Ed25519PrivateKey, X25519PrivateKey)

DOMAIN_MANIFEST: Final = b"hospintel/manifest/v1"
DOMAIN_REPORT: Final = b"hospintel/report/v1"
DOMAIN_ENROL: Final = b"hospintel/enrol/v1"
DOMAIN_CHECKPOINT: Final = b"hospintel/checkpoint/v1"
DOMAIN_UPDATE: Final = b"hospintel/update-sig/v1"
DOMAIN_IDENTITY: Final = b"hospintel/identity/v1"
DOMAIN_PREDECESSOR: Final = b"hospintel/predecessor/v1"

KEY_ID_LENGTH: Final = 8
SIGNATURE_LENGTH: Final = 64
_MAX_KEY_FILE: Final = 64 * 1024
_FIELD: Final = 2**255 - 19
# y of the eight points whose order divides 8 (RFC 8032 5.1; https://eprint.iacr.org/2020/1244, table 1).
_ORDER_8_Y: Final = 2707385501144840649318225287225658788936804267575313519463743609750303402022
_SMALL_ORDER_Y: Final = frozenset({0, 1, _FIELD - 1, _ORDER_8_Y, _FIELD - _ORDER_8_Y})


def key_id(public_key: PublicKey) -> bytes:
    """Return the first 8 bytes of SHA-256 over the key's SubjectPublicKeyInfo (DER)."""
    return _spki_digest(public_key)[:KEY_ID_LENGTH]


def fingerprint(public_key: PublicKey) -> str:
    """SHA-256 over the key's SubjectPublicKeyInfo as hex in groups of four, for people to compare."""
    text = _spki_digest(public_key).hex()
    return " ".join(text[start : start + 4] for start in range(0, len(text), 4))


def public_raw(public_key: Ed25519PublicKey | X25519PublicKey) -> bytes:
    """Return the key's 32 raw bytes."""
    return public_key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def ed25519_from_raw(raw: bytes) -> Ed25519PublicKey:
    """Return the public key of 32 raw bytes; SignatureError ``signature_key`` for anything else.

    Points of small order are refused, as without any private key one signature holds for every message under them;
    so are encodings that are not the canonical one, which would give one key two ids.
    """
    try:
        key = Ed25519PublicKey.from_public_bytes(raw)
    except ValueError as error:
        raise SignatureError("signature_key", "The Ed25519 public key has not 32 bytes.") from error
    y = int.from_bytes(raw, "little") & (2**255 - 1)
    if y >= _FIELD or y in _SMALL_ORDER_Y:
        raise SignatureError("signature_key", "The Ed25519 public key is one that nobody can hold alone.")
    return key


def x25519_from_raw(raw: bytes) -> X25519PublicKey:
    """Return the public key of 32 raw bytes; SignatureError ``signature_key`` for anything else."""
    try:
        return X25519PublicKey.from_public_bytes(raw)
    except ValueError as error:
        raise SignatureError("signature_key", "The X25519 public key has not 32 bytes.") from error


def sign(domain: bytes, message: Buffer, key: Ed25519PrivateKey) -> bytes:
    """Ed25519 over ``domain || 0x00 || SHA-512(message)``: 64 bytes."""
    return key.sign(_signed(domain, message))


def verify(domain: bytes, message: Buffer, signature: Buffer, public_key: Ed25519PublicKey) -> None:
    """Return if ``signature`` was made over ``message`` in ``domain``; else SignatureError ``signature_invalid``."""
    try:
        public_key.verify(bytes(signature), _signed(domain, message))
    except InvalidSignature as error:
        raise SignatureError("signature_invalid", "The signature does not hold.") from error


def enrol_proof_message(code: str, public_raw: bytes) -> bytes:
    """Return what an agent signs under DOMAIN_ENROL, to prove that it holds the key that it enrols with ``code``."""
    return hashlib.sha256(code.encode("utf-8")).digest() + public_raw


def write_private_key(path: Path, key: PrivateKey) -> None:
    """Store ``key`` as PKCS #8 PEM, readable by the owner alone; whole or not at all, also if the power fails.

    Never overwrites: KeyFileError ``key_exists``. ``key_unwritable`` if the folder or disk refuses.
    """
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(pem)
                file.flush()
                os.fsync(file.fileno())
            # A hard link appears at once and complete, and fails where the name is taken.
            os.link(draft, path)
        finally:
            draft.unlink()
        _sync_folder(path.parent)
    except FileExistsError as error:
        raise KeyFileError("key_exists", f"{path.name} exists.", "Keys are never overwritten.") from error
    except OSError as error:
        raise KeyFileError("key_unwritable", f"{path.name} cannot be written: {error.strerror}.") from error


def read_private_key(path: Path, kind: Callable[..., K]) -> K:
    """Return the private key of class ``kind`` in the PEM file ``path``.

    KeyFileError ``key_missing``, ``key_permissions`` (it is another user's, or others may use it), ``key_unreadable``
    or ``key_kind``. ``kind`` is typed as a callable because the key classes are abstract.
    """
    try:
        with files.open_regular(path) as file:
            _check_private(path, os.fstat(file.fileno()))
            pem = file.read(_MAX_KEY_FILE)
    except FileNotFoundError as error:
        raise KeyFileError("key_missing", f"There is no {path.name}.") from error
    except OSError as error:
        raise KeyFileError("key_unreadable", f"{path.name} cannot be read: {error.strerror}.") from error
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyFileError("key_unreadable", f"{path.name} holds no unencrypted PEM private key.") from error
    if not isinstance(key, cast("type[K]", kind)):
        raise KeyFileError("key_kind", f"{path.name} holds another kind of key.")
    return key


def erase_key(path: Path) -> None:
    """Overwrite, unlink and forget a key file; nothing to do if it is gone. KeyFileError ``key_unwritable``."""
    try:
        with path.open("r+b") as file:
            length = os.fstat(file.fileno()).st_size
            file.write(bytes(length))
            file.flush()
            os.fsync(file.fileno())
        path.unlink()
        _sync_folder(path.parent)
    except FileNotFoundError:
        return
    except OSError as error:
        raise KeyFileError("key_unwritable", f"{path.name} cannot be erased: {error.strerror}.") from error


def _spki_digest(public_key: PublicKey) -> bytes:
    return hashlib.sha256(public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()


def _signed(domain: bytes, message: Buffer) -> bytes:
    return domain + b"\0" + hashlib.sha512(message).digest()


def _check_private(path: Path, status: os.stat_result) -> None:
    exposed = files.exposure(status)
    if exposed:
        raise KeyFileError(
            "key_permissions",
            f"{path.name} is no secret: {exposed}.",
            f"chown it to the user that runs this, chmod 600 {path}",
        )


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
