"""HSPU v1: one update sealed to the hub and signed by its agent. The specification is docs/wire-format.md.

RSA-3072-OAEP-SHA256 and a per-round X25519 key (RFC 8017, RFC 7748) -> HKDF-SHA256 (RFC 5869) -> Cobblestone-256
(https://c2sp.org/chunked-encryption) -> Ed25519 (RFC 8032). The whole head is bound into the key derivation.
"""

import hashlib
import secrets
import struct
from dataclasses import dataclass
from io import BytesIO
from typing import Final
from uuid import UUID

from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from hospintel_core import signing
from hospintel_core.errors import EnvelopeError, SignatureError
from hospintel_core.signing import Buffer

MAGIC: Final = b"HSPU"
VERSION: Final = 1
SUITE: Final = 1
TYPE_UPDATE: Final = 1
RSA_BITS: Final = 3072
MAX_SIZE: Final = 256 * 1024 * 1024

_HEADER = struct.Struct(">4s4B16s16s16s32s32sIIQQ16s8s8s8sQ")
_WRAPPED: Final = RSA_BITS // 8
_RAW_KEY: Final = 32
_HEAD: Final = _HEADER.size + _WRAPPED + _RAW_KEY
_SALT_AND_COMMITMENT: Final = 24 + 32
_CHUNK: Final = 16 * 1024
_TAG: Final = 16
_OVERHEAD: Final = _HEAD + _SALT_AND_COMMITMENT + signing.SIGNATURE_LENGTH
_SMALLEST: Final = _OVERHEAD + _TAG
_OAEP: Final = OAEP(MGF1(SHA256()), SHA256(), b"hospintel/update/v1")
_KDF_INFO: Final = b"hospintel/update/v1 input key"
_U32: Final = 2**32
_U64: Final = 2**64


@dataclass(frozen=True)
class HeaderFields:
    """What the sender states; ``seal`` adds the key ids, the nonce and the payload's length."""

    federation_id: UUID
    agent_id: UUID
    round_id: UUID
    base_model: bytes
    schema: bytes
    num_samples: int
    attempt: int
    seq: int
    issued_ms: int

    def __post_init__(self) -> None:
        fits = (
            len(self.base_model) == len(self.schema) == SHA256.digest_size
            and all(0 <= value < _U32 for value in (self.num_samples, self.attempt))
            and all(0 <= value < _U64 for value in (self.seq, self.issued_ms))
        )
        if not fits:
            raise EnvelopeError("envelope_field", "A header value does not fit its field.")


@dataclass(frozen=True)
class Header(HeaderFields):
    """The 192 bytes in clear. ``base_model`` and ``schema`` are SHA-256 digests, ``issued_ms`` is UTC since 1970."""

    msg_type: int
    nonce: bytes
    rsa_kid: bytes
    round_kid: bytes
    sig_kid: bytes
    payload_len: int


def new_header(
    *,
    federation_id: UUID,
    agent_id: UUID,
    round_id: UUID,
    base_model: bytes,
    schema: bytes,
    num_samples: int,
    attempt: int,
    seq: int,
    now_ms: int,
) -> HeaderFields:
    """Return the sender's statement for ``seal``; EnvelopeError ``envelope_field`` for a value that does not fit."""
    return HeaderFields(
        federation_id, agent_id, round_id, base_model, schema, num_samples, attempt, seq, issued_ms=now_ms
    )


def sealed_size(payload_len: int) -> int:
    """Bytes of the envelope around ``payload_len`` bytes: 728 and 16 for each started 16 KiB chunk more."""
    return _OVERHEAD + payload_len + _TAG * (payload_len // _CHUNK + 1)


def seal(
    payload: Buffer,
    fields: HeaderFields,
    *,
    rsa_public: RSAPublicKey,
    round_public: X25519PublicKey,
    signing_key: Ed25519PrivateKey,
) -> bytes:
    """Encrypt ``payload`` to the holder of both private keys and sign the whole.

    EnvelopeError ``envelope_length`` (more than MAX_SIZE) or ``envelope_key`` (not RSA-3072, a low-order round key).
    """
    size = sealed_size(len(payload))
    if size > MAX_SIZE:
        raise EnvelopeError("envelope_length", f"The sealed update would have {size} bytes, more than {MAX_SIZE}.")
    if rsa_public.key_size != RSA_BITS:
        raise EnvelopeError("envelope_key", f"The hub's RSA key has not {RSA_BITS} bits.")
    content_key = secrets.token_bytes(_RAW_KEY)
    ephemeral = X25519PrivateKey.generate()
    try:
        shared = ephemeral.exchange(round_public)
    except ValueError as error:
        raise EnvelopeError("envelope_key", "The round key is of low order.") from error
    head = (
        _pack(fields, len(payload), (rsa_public, round_public, signing_key.public_key()))
        + rsa_public.encrypt(content_key, _OAEP)
        + signing.public_raw(ephemeral.public_key())
    )
    key, context = _derive(head, content_key, shared)
    encryptor = Cobblestone256Encryptor(key, context)
    sealed = _room(size)
    with sealed.getbuffer() as view:
        view[:_HEAD] = head
        end = _HEAD + encryptor.update_into(payload, view[_HEAD:])
        view[end : -signing.SIGNATURE_LENGTH] = encryptor.finalize()
        body = view[: -signing.SIGNATURE_LENGTH]
        view[-signing.SIGNATURE_LENGTH :] = signing.sign(signing.DOMAIN_UPDATE, body, signing_key)
        body.release()
    return sealed.getvalue()


def parse_header(data: Buffer) -> Header:
    """Return the header of an envelope or of its first bytes, with only its form checked, not its signature."""
    if len(data) < _HEADER.size:
        raise EnvelopeError("envelope_truncated", f"The update has {len(data)} bytes, fewer than its header.")
    magic, version, suite, msg_type, flags, *fields = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise EnvelopeError("envelope_magic", "These bytes are not an update.")
    if version != VERSION:
        raise EnvelopeError("envelope_version", f"Version {version} is not accepted.")
    if suite != SUITE:
        raise EnvelopeError("envelope_suite", f"Suite {suite} is not accepted.")
    if msg_type != TYPE_UPDATE:
        raise EnvelopeError("envelope_type", f"Message type {msg_type} is not accepted.")
    if flags != 0:
        raise EnvelopeError("envelope_flags", f"Flags {flags} are not accepted.")
    federation_id, agent_id, round_id, base_model, schema, num_samples, attempt, seq, issued_ms, *rest = fields
    nonce, rsa_kid, round_kid, sig_kid, payload_len = rest
    return Header(
        UUID(bytes=federation_id),
        UUID(bytes=agent_id),
        UUID(bytes=round_id),
        base_model,
        schema,
        num_samples,
        attempt,
        seq,
        issued_ms,
        msg_type,
        nonce,
        rsa_kid,
        round_kid,
        sig_kid,
        payload_len,
    )


def verify(data: Buffer, sender: Ed25519PublicKey) -> Header:
    """Return the header of a complete envelope that ``sender`` signed; EnvelopeError otherwise.

    Needs no private key and decrypts nothing. Codes in the order of the checks: those of ``parse_header``,
    ``envelope_truncated``, ``envelope_length``, ``envelope_signer``, ``envelope_signature``.
    """
    header = parse_header(data)
    if len(data) < _SMALLEST:
        raise EnvelopeError("envelope_truncated", f"The update has {len(data)} bytes, fewer than the smallest one.")
    if len(data) > MAX_SIZE or len(data) != sealed_size(header.payload_len):
        raise EnvelopeError(
            "envelope_length", f"The update has {len(data)} bytes, which {header.payload_len} of payload do not make."
        )
    if header.sig_kid != signing.key_id(sender):
        raise EnvelopeError("envelope_signer", "The update names another signing key than its agent's.")
    with memoryview(data) as view:
        body, signature = view[: -signing.SIGNATURE_LENGTH], view[-signing.SIGNATURE_LENGTH :]
        try:
            signing.verify(signing.DOMAIN_UPDATE, body, signature, sender)
        except SignatureError as error:
            raise EnvelopeError("envelope_signature", "The update's signature does not hold.") from error
    return header


def open_envelope(
    data: Buffer, *, sender: Ed25519PublicKey, rsa_private: RSAPrivateKey, round_private: X25519PrivateKey
) -> tuple[Header, bytes]:
    """Return the header and the payload of an envelope; EnvelopeError and nothing else for any other bytes.

    After the checks of ``verify``: ``envelope_key``, ``envelope_unwrap``, ``envelope_exchange``,
    ``envelope_commitment``, ``envelope_payload``.
    """
    header = verify(data, sender)
    if header.rsa_kid != signing.key_id(rsa_private.public_key()):
        raise EnvelopeError("envelope_key", "The update is sealed to another RSA key.")
    if header.round_kid != signing.key_id(round_private.public_key()):
        raise EnvelopeError("envelope_key", "The update is sealed to another round's key.")
    with memoryview(data) as view:
        head = bytes(view[:_HEAD])
        content_key, shared = _unwrap(head, rsa_private, round_private)
        key, context = _derive(head, content_key, shared)
        message = view[_HEAD : -signing.SIGNATURE_LENGTH]
        return header, _decrypt(message, header.payload_len, key, context)


def _pack(
    fields: HeaderFields, payload_len: int, keys: tuple[RSAPublicKey, X25519PublicKey, Ed25519PublicKey]
) -> bytes:
    return _HEADER.pack(
        MAGIC,
        VERSION,
        SUITE,
        TYPE_UPDATE,
        0,
        fields.federation_id.bytes,
        fields.agent_id.bytes,
        fields.round_id.bytes,
        fields.base_model,
        fields.schema,
        fields.num_samples,
        fields.attempt,
        fields.seq,
        fields.issued_ms,
        secrets.token_bytes(16),
        *(signing.key_id(key) for key in keys),
        payload_len,
    )


def _unwrap(head: bytes, rsa_private: RSAPrivateKey, round_private: X25519PrivateKey) -> tuple[bytes, bytes]:
    """Return the content key and the X25519 shared secret."""
    wrapped, ephemeral = head[_HEADER.size : -_RAW_KEY], head[-_RAW_KEY:]
    try:
        content_key = rsa_private.decrypt(wrapped, _OAEP)
    except ValueError as error:
        raise EnvelopeError("envelope_unwrap", "The wrapped key cannot be opened.") from error
    if len(content_key) != _RAW_KEY:
        raise EnvelopeError("envelope_unwrap", f"The wrapped key has not {_RAW_KEY} bytes.")
    try:
        # Refuses an all-zero secret, as RFC 7748 section 6.1 advises.
        return content_key, round_private.exchange(X25519PublicKey.from_public_bytes(ephemeral))
    except ValueError as error:
        raise EnvelopeError("envelope_exchange", "The ephemeral key is of low order.") from error


def _derive(head: bytes, content_key: bytes, shared: bytes) -> tuple[bytes, bytes]:
    """Return the input key and the context of the chunk layer; both depend on every byte of ``head``."""
    context = hashlib.sha256(head).digest()
    key = HKDF(algorithm=SHA256(), length=_RAW_KEY, salt=context, info=_KDF_INFO).derive(content_key + shared)
    return key, context


def _decrypt(message: memoryview, length: int, key: bytes, context: bytes) -> bytes:
    decryptor = Cobblestone256Decryptor(key, context)
    try:
        decryptor.update(message[:_SALT_AND_COMMITMENT])
    except InvalidTag as error:
        raise EnvelopeError("envelope_commitment", "The payload is sealed under another key.") from error
    plain = _room(length)
    try:
        with plain.getbuffer() as view:
            end = decryptor.update_into(message[_SALT_AND_COMMITMENT:], view)
            view[end:] = decryptor.finalize()
    # ValueError: the chunks do not make ``length`` bytes.
    except (InvalidTag, ValueError) as error:
        raise EnvelopeError("envelope_payload", "The payload has been altered.") from error
    return plain.getvalue()


def _room(size: int) -> BytesIO:
    # Filled in place and handed out as bytes without a copy, which a bytearray cannot do: updates may be large.
    return BytesIO(bytes(size))
