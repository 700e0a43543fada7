"""A second reader of HSPU v1, written from docs/wire-format.md with PyNaCl and pycryptodome; imports nothing of ours.

If this file and hospintel_core.envelope read the same bytes differently, the specification is unclear.
"""

import hashlib
import hmac
from typing import NamedTuple
from uuid import UUID

from Crypto.Cipher import AES, PKCS1_OAEP
from Crypto.Hash import SHA256
from Crypto.Protocol.KDF import HKDF
from Crypto.PublicKey import RSA
from Crypto.Signature.pss import MGF1
from nacl.bindings import crypto_scalarmult, crypto_scalarmult_base
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

HEADER, HEAD, CHUNK, TAG, SIGNATURE = 192, 608, 16384, 16, 64
ED25519_SPKI = bytes.fromhex("302a300506032b6570032100")
X25519_SPKI = bytes.fromhex("302a300506032b656e032100")


class RefusedError(Exception):
    """The bytes are not an update that this reader accepts."""


class Keys(NamedTuple):
    sender_public: bytes  # Ed25519, raw
    rsa_private: str  # PEM
    round_private: bytes  # X25519, raw


class Update(NamedTuple):
    federation_id: UUID
    agent_id: UUID
    round_id: UUID
    base_model: bytes
    schema: bytes
    num_samples: int
    attempt: int
    seq: int
    issued_ms: int
    nonce: bytes
    payload: bytes


def read(data: bytes, keys: Keys) -> Update:
    rsa = RSA.import_key(keys.rsa_private)
    need(len(data) >= HEADER and data[:8] == b"HSPU\x01\x01\x01\x00", "form")
    payload_len = number(data, 184, 8)
    need(len(data) == HEAD + 56 + payload_len + TAG * (payload_len // CHUNK + 1) + SIGNATURE, "length")
    need(data[176:184] == kid(ED25519_SPKI + keys.sender_public), "signer")
    message = b"hospintel/update-sig/v1\0" + hashlib.sha512(data[:-SIGNATURE]).digest()
    try:
        VerifyKey(keys.sender_public).verify(message, data[-SIGNATURE:])
    except BadSignatureError as error:
        raise RefusedError("signature") from error
    need(data[160:168] == kid(rsa.public_key().export_key("DER")), "rsa key")
    need(data[168:176] == kid(X25519_SPKI + crypto_scalarmult_base(keys.round_private)), "round key")
    payload = open_chunks(data[HEAD:-SIGNATURE], *input_key(data[:HEAD], rsa, keys.round_private))
    need(len(payload) == payload_len, "payload length")
    return Update(
        *(UUID(bytes=data[start : start + 16]) for start in (8, 24, 40)),
        base_model=data[56:88],
        schema=data[88:120],
        num_samples=number(data, 120, 4),
        attempt=number(data, 124, 4),
        seq=number(data, 128, 8),
        issued_ms=number(data, 136, 8),
        nonce=data[144:160],
        payload=payload,
    )


def input_key(head: bytes, rsa: RSA.RsaKey, round_private: bytes) -> tuple[bytes, bytes]:
    oaep = PKCS1_OAEP.new(rsa, SHA256, lambda seed, length: MGF1(seed, length, SHA256), b"hospintel/update/v1")
    try:
        content_key = oaep.decrypt(head[HEADER : HEADER + 384])
        shared = crypto_scalarmult(round_private, head[HEADER + 384 :])
    except (ValueError, TypeError, RuntimeError) as error:
        raise RefusedError("keys") from error
    need(len(content_key) == 32 and any(shared), "keys")
    context = hashlib.sha256(head).digest()
    key = HKDF(content_key + shared, 32, context, SHA256, context=b"hospintel/update/v1 input key")
    return key, context


def open_chunks(message: bytes, key: bytes, context: bytes) -> bytes:
    salt, commitment, body = message[:24], message[24:56], message[56:]
    info = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0" + salt + context
    derived = expand_sha512(key, info, 32 + 12 + 32)
    need(hmac.compare_digest(derived[44:], commitment), "commitment")
    plain, base = [], int.from_bytes(derived[32:44], "big")
    for index in range(len(body) // (CHUNK + TAG) + 1):
        chunk = body[index * (CHUNK + TAG) : (index + 1) * (CHUNK + TAG)]
        need(len(chunk) >= TAG, "chunk")
        cipher = AES.new(derived[:32], AES.MODE_GCM, nonce=(base ^ index).to_bytes(12, "big"))
        try:
            plain.append(cipher.decrypt_and_verify(chunk[:-TAG], chunk[-TAG:]))
        except ValueError as error:
            raise RefusedError("chunk") from error
    return b"".join(plain)


def expand_sha512(key: bytes, info: bytes, length: int) -> bytes:
    """HKDF-Expand of RFC 5869 section 2.3 with SHA-512."""
    out, block = b"", b""
    for counter in range(1, -(-length // 64) + 1):
        block = hmac.digest(key, block + info + bytes([counter]), "sha512")
        out += block
    return out[:length]


def number(data: bytes, start: int, length: int) -> int:
    return int.from_bytes(data[start : start + length], "big")


def kid(spki: bytes) -> bytes:
    return hashlib.sha256(spki).digest()[:8]


def need(condition: bool, what: str) -> None:
    if not condition:
        raise RefusedError(what)
