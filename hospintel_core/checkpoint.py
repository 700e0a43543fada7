"""A signed statement of where the hub's audit stood, as it travels and is kept. Format: docs/audit.md."""

import base64
import binascii
import json
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from hospintel_core import signing, strict_json

_TYPES = {"seq": int, "entry_hash": str, "ts_us": int, "kid": str}


def body_of(seq: int, entry_hash: str, ts_us: int, kid: str) -> bytes:
    """Return what is signed: that the audit's entry `seq` has this hash (hex), at a time in us since 1970, by a key."""
    said = {"v": 1, "seq": seq, "entry_hash": entry_hash, "ts_us": ts_us, "kid": kid}
    return strict_json.canonical(said).encode()


@dataclass(frozen=True)
class Note:
    """A checkpoint as it is kept: the signed bytes, what they say, and the signature, which is unchecked."""

    seq: int
    entry_hash: str
    ts_us: int
    kid: str
    body: bytes
    signature: bytes

    @classmethod
    def of(cls, body: bytes, signature: bytes) -> "Note":
        """Read a body. Raises ValueError for any other form than ours."""
        said = json.loads(body)
        if not isinstance(said, dict) or strict_json.canonical(said).encode() != body:
            raise ValueError("The body of a checkpoint is not canonical JSON.")
        if [type(said.get(name)) for name in _TYPES] != list(_TYPES.values()):
            raise ValueError("A checkpoint says something of another type than it should.")
        note = cls(said["seq"], said["entry_hash"], said["ts_us"], said["kid"], body, signature)
        if body != body_of(note.seq, note.entry_hash, note.ts_us, note.kid):
            raise ValueError("A checkpoint says something else than v, seq, entry_hash, ts_us and kid.")
        return note

    def to_line(self) -> str:
        """Return the line in which it is exported and kept."""
        signature = base64.b64encode(self.signature).decode()
        return strict_json.canonical(
            {"kind": "checkpoint", "body": self.body.decode(errors="replace"), "signature": signature}
        )

    @classmethod
    def from_line(cls, line: str) -> "Note":
        """Undo `to_line`. Raises ValueError."""
        try:
            kept = json.loads(line)
            note = cls.of(kept["body"].encode(), base64.b64decode(kept["signature"], validate=True))
        except (TypeError, KeyError, AttributeError, binascii.Error, RecursionError) as error:
            raise ValueError("This line is no checkpoint.") from error
        # Base64 leaves bits over that say nothing: two spellings of one signature.
        if json.loads(note.to_line()) != kept:
            raise ValueError("This line is no checkpoint.")
        return note

    def verify(self, key: Ed25519PublicKey) -> None:
        """Return where this key has signed it; SignatureError otherwise."""
        signing.verify(signing.DOMAIN_CHECKPOINT, self.body, self.signature, key)
