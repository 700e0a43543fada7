"""The hub's keys: identity (Ed25519), RSA-3072, and one X25519 key a round, as 0600 files under HOSPINTEL_KEYS.

Only workers, the tick loop and commands read the private halves; the web process never does.
Erasing the round key when its round ends is what makes a captured upload unreadable later (docs/wire-format.md).
"""

import math
import os
from functools import lru_cache
from pathlib import Path
from typing import cast
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from django.conf import settings
from django.utils import timezone

from apps.audit.api import advance, record, transaction
from apps.federation.models import HubKey
from apps.federation.states import KeyState
from hospintel_core import identity, signing
from hospintel_core.errors import KeyFileError, SignatureError

RSA_BITS = 3072
SYSTEM = "system:keys"


def _folder() -> Path:
    return Path(settings.KEYS)


def _path(kind: str, kid: str) -> Path:
    return _folder() / f"{kind.lower()}-{kid}.pem"


def _round_path(round_id: UUID) -> Path:
    return _folder() / "rounds" / f"{round_id}.pem"


def _pem(public: RSAPublicKey | Ed25519PublicKey) -> str:
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _create(kind: HubKey.Kind) -> tuple[HubKey, RSAPrivateKey | Ed25519PrivateKey]:
    private: RSAPrivateKey | Ed25519PrivateKey
    if kind == HubKey.Kind.RSA:
        private = rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
    else:
        private = Ed25519PrivateKey.generate()
    public = private.public_key()
    kid = signing.key_id(public).hex()
    signing.write_private_key(_path(kind, kid), private)
    return HubKey(kid=kid, kind=kind, public_pem=_pem(public)), private


def _install(key: HubKey, *, actor: str) -> None:
    """Make the key the active one of its kind, the one before it decrypt-only."""
    with transaction():
        old = HubKey.objects.filter(kind=key.kind, state=KeyState.ACTIVE).first()
        key.save(force_insert=True)
        record("key.create", actor=actor, obj=f"key:{key.kid}", kind=key.kind)
        if old is not None:
            advance(old, KeyState.DECRYPT_ONLY, actor=actor, changes={"retired_at": timezone.now()})
        advance(key, KeyState.ACTIVE, actor=actor)


def ensure_keys() -> None:
    """Create the identity and the RSA key where the database knows none. Safe to call at every start.

    Raises:
        KeyFileError: the database knows an active key whose file is missing (`key_missing`) or unreadable.
    """
    (_folder() / "rounds").mkdir(mode=0o700, parents=True, exist_ok=True)
    for kind in (HubKey.Kind.IDENTITY, HubKey.Kind.RSA):
        active = HubKey.objects.filter(kind=kind, state=KeyState.ACTIVE).first()
        if active is None:
            _install(_create(kind)[0], actor=SYSTEM)
        elif not _path(kind, active.kid).exists():
            raise KeyFileError(
                "key_missing",
                f"The database knows the {kind.lower()} key {active.kid} but {_path(kind, active.kid)} is not there.",
                "Restore the keys folder from its own backup, or point HOSPINTEL_KEYS at it.",
            )


def are_there() -> bool:
    """Return whether the files of the active identity and RSA key are there and may be read; none is opened."""
    active = HubKey.objects.filter(state=KeyState.ACTIVE).values_list("kind", "kid")
    paths = [_path(kind, kid) for kind, kid in active]
    return len(paths) >= len(HubKey.Kind) and all(os.access(path, os.R_OK) for path in paths)


def rotate(kind: HubKey.Kind, *, actor: str) -> HubKey:
    """Create and activate a new key; the old one is kept to decrypt only. A new and an old identity sign each other."""
    old = active_key(kind)
    key, private = _create(kind)
    if isinstance(private, Ed25519PrivateKey):
        key.signed_by = old.kid
        key.signature = signing.sign(signing.DOMAIN_IDENTITY, key.public_pem.encode(), identity_private())
        key.countersignature = signing.sign(signing.DOMAIN_PREDECESSOR, old.public_pem.encode(), private)
    _install(key, actor=actor)
    return key


def destroy_retired(kind: HubKey.Kind, *, actor: str) -> int:
    """Erase the private halves of the retired keys of a kind. Returns how many.

    The caller knows that no round needs them. A retired identity is needed for nothing: it signed what it signed,
    and its successor, which the public half in the database goes on to prove.
    """
    retired = list(HubKey.objects.filter(kind=kind, state=KeyState.DECRYPT_ONLY))
    for key in retired:
        # The file first: what is interrupted between the two is done again by the next call.
        signing.erase_key(_path(kind, key.kid))
        with transaction():
            advance(key, KeyState.DESTROYED, actor=actor)
    return len(retired)


def active_key(kind: HubKey.Kind) -> HubKey:
    """Return the row of the active key of a kind."""
    return HubKey.objects.get(kind=kind, state=KeyState.ACTIVE)


def identity_public() -> Ed25519PublicKey:
    """Return the public half of the hub's identity."""
    pem = active_key(HubKey.Kind.IDENTITY).public_pem.encode()
    return cast("Ed25519PublicKey", load_pem_public_key(pem))


def identity_chain() -> list[identity.Link]:
    """Return the active identity and those before it, newest first; nothing before the hub was started once."""
    rows = {row.kid: row for row in HubKey.objects.filter(kind=HubKey.Kind.IDENTITY)}
    row = next((row for row in rows.values() if row.state == KeyState.ACTIVE), None)
    rows.pop(row.kid if row else "", None)
    chain = []
    while row is not None:
        public = cast("Ed25519PublicKey", load_pem_public_key(row.public_pem.encode()))
        chain.append(identity.Link(public, bytes.fromhex(row.signed_by), bytes(row.signature)))
        row = rows.pop(row.signed_by, None)
    return chain


def identities() -> dict[str, Ed25519PublicKey]:
    """Return the active identity and those that provably came before it, by their key ids in hex.

    Each two that follow each other have signed each other: a row that somebody put into the table, with a signature of
    its own over the active identity, is none of them.
    """
    found: dict[str, Ed25519PublicKey] = {}
    rows = {row.kid: row for row in HubKey.objects.filter(kind=HubKey.Kind.IDENTITY)}
    newer = None
    for link in identity_chain():
        if newer is not None and not _follow_each_other(link, newer, bytes(rows[newer.kid.hex()].countersignature)):
            break
        found[link.kid.hex()] = link.public_key
        newer = link
    return found


def _follow_each_other(old: identity.Link, new: identity.Link, countersignature: bytes) -> bool:
    if identity.follow(old.public_key, [new], new.kid) is None:
        return False
    said = identity.pem_of(old.public_key).encode()
    try:
        signing.verify(signing.DOMAIN_PREDECESSOR, said, countersignature, new.public_key)
    except SignatureError:
        return False
    return True


def rsa_public() -> RSAPublicKey:
    """Return the public half of the active RSA key."""
    return cast("RSAPublicKey", load_pem_public_key(active_key(HubKey.Kind.RSA).public_pem.encode()))


def identity_private() -> Ed25519PrivateKey:
    """Return the hub's identity (worker, tick and commands only)."""
    return signing.read_private_key(_path("identity", active_key(HubKey.Kind.IDENTITY).kid), Ed25519PrivateKey)


@lru_cache(maxsize=4)
def _rsa_file(path: Path) -> RSAPrivateKey:
    return signing.read_private_key(path, RSAPrivateKey)


def rsa_private(kid: str) -> RSAPrivateKey:
    """Return the RSA key with this id (worker only).

    Raises:
        KeyFileError: the file is gone or not readable by us alone.
    """
    return _rsa_file(_path("rsa", kid))


def create_round_key(round_id: UUID) -> X25519PrivateKey:
    """Create and store the X25519 key of a round."""
    key = X25519PrivateKey.generate()
    signing.write_private_key(_round_path(round_id), key)
    return key


def round_private(round_id: UUID) -> X25519PrivateKey:
    """Return the X25519 key of a round (worker only)."""
    return signing.read_private_key(_round_path(round_id), X25519PrivateKey)


def has_round_key(round_id: UUID) -> bool:
    """Return whether the X25519 key of a round is still there."""
    return _round_path(round_id).exists()


def erase_round_key(round_id: UUID) -> None:
    """Erase the X25519 key of a round; nothing happens where it is gone already."""
    signing.erase_key(_round_path(round_id))


def kept_round_keys(older_than: float = math.inf) -> list[UUID]:
    """Return the rounds whose key has not been erased yet; only keys made before a Unix time, if one is given."""
    files = (_folder() / "rounds").glob("*.pem")
    return [UUID(path.stem) for path in files if path.stat().st_mtime < older_than]
