"""The hub's identities in a chain: each new one is signed by the one before, so that an agent can follow."""

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hospintel_core import signing
from hospintel_core.errors import SignatureError

_FIELDS = frozenset({"kid", "public_key", "pem", "signed_by", "signature"})


def pem_of(public_key: Ed25519PublicKey) -> str:
    """The text over which the identity before signs: SubjectPublicKeyInfo as PEM."""
    return public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")


@dataclass(frozen=True)
class Link:
    """One identity. ``signed_by`` is the key id (8 bytes) of the one before, empty for the first.

    ``signature`` is made by the one before, over ``pem_of`` the key, under DOMAIN_IDENTITY.
    """

    public_key: Ed25519PublicKey
    signed_by: bytes
    signature: bytes

    @property
    def kid(self) -> bytes:
        """The identity's key id."""
        return signing.key_id(self.public_key)

    def to_wire(self) -> dict[str, str]:
        """As JSON types: key ids in hex, the raw key and the signature in base64."""
        return {
            "kid": self.kid.hex(),
            "public_key": base64.b64encode(signing.public_raw(self.public_key)).decode("ascii"),
            "pem": pem_of(self.public_key),
            "signed_by": self.signed_by.hex(),
            "signature": base64.b64encode(self.signature).decode("ascii"),
        }

    @classmethod
    def from_wire(cls, value: object) -> "Link":
        """Undo ``to_wire``; SignatureError ``signature_key`` for any other form. The signature is not checked here."""
        if not isinstance(value, Mapping) or value.keys() != _FIELDS:
            raise _malformed()
        if not all(isinstance(item, str) for item in value.values()):
            raise _malformed()
        try:
            key = signing.ed25519_from_raw(base64.b64decode(value["public_key"], validate=True))
            link = cls(key, bytes.fromhex(value["signed_by"]), base64.b64decode(value["signature"], validate=True))
        except (ValueError, binascii.Error) as error:
            raise _malformed() from error
        if link.to_wire() != value:
            raise _malformed()
        return link


def follow(pinned: Ed25519PublicKey, chain: Iterable[Link], kid: bytes) -> Ed25519PublicKey | None:
    """Return the identity with this key id, if signatures lead to it from ``pinned``; else None.

    Only forwards: an identity that ``pinned`` has replaced is not reached.
    """
    links = {link.kid: link for link in chain}
    start, path, at = signing.key_id(pinned), [], kid
    while at != start:
        # Each is used once, so that a circle ends.
        link = links.pop(at, None)
        if link is None:
            return None
        path.append(link)
        at = link.signed_by
    signer = pinned
    for link in reversed(path):
        try:
            signing.verify(signing.DOMAIN_IDENTITY, pem_of(link.public_key).encode(), link.signature, signer)
        except SignatureError:
            return None
        signer = link.public_key
    return signer


def _malformed() -> SignatureError:
    return SignatureError("signature_key", "An identity in the hub's chain is not of its form.")
