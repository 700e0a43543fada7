"""Writes the golden envelopes: an independent, deterministic writer of HSPU v1 with TEST ONLY keys.

    python tests/core/make_golden.py            # writes tests/core/golden/*.hspu and index.json

Every "random" value comes from SHAKE-256 over its name, so a second run gives the same bytes. The format is frozen:
if a change to the product needs new golden files, it needs a new version byte instead.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from struct import pack
from typing import Any
from uuid import UUID

import second_reader
from Crypto.Cipher import AES, PKCS1_OAEP
from Crypto.Hash import SHA256
from Crypto.Protocol.KDF import HKDF
from Crypto.PublicKey import RSA
from Crypto.Signature.pss import MGF1
from nacl.bindings import crypto_scalarmult, crypto_scalarmult_base
from nacl.signing import SigningKey

FOLDER = Path(__file__).parent / "golden"
KEYS = FOLDER / "TEST_ONLY_keys.json"
CHUNK, TAG = 16384, 16
SMALL = (0, 1, 2, 15, 16, 17, 255, 1000, 4096, 10_007)
AROUND_CHUNKS = (16_383, 16_384, 16_385, 16_400, 20_000, 32_767, 32_768, 32_769, 49_152)


def stream(name: str, length: int) -> bytes:
    """The bytes that stand for chance."""
    return hashlib.shake_256(f"hospintel golden {name}".encode()).digest(length)


@dataclass(frozen=True)
class Draft:
    """One envelope to write; the fields that a hostile writer could choose are all here."""

    name: str
    payload: bytes
    num_samples: int = 1
    attempt: int = 1
    seq: int = 1
    issued_ms: int = 1_800_000_000_000
    prefix: bytes = b"HSPU\x01\x01\x01\x00"
    content_key_length: int = 32
    label: bytes = b"hospintel/update/v1"
    payload_len: int | None = None


@dataclass(frozen=True)
class TestKeys:
    """The TEST ONLY keys of keys file: RSA as PEM, the others raw and private."""

    rsa_private: str
    round_private: bytes
    signing_private: bytes

    def for_reader(self) -> second_reader.Keys:
        return second_reader.Keys(
            bytes(SigningKey(self.signing_private).verify_key), self.rsa_private, self.round_private
        )


def load_keys() -> TestKeys:
    stored = json.loads(KEYS.read_text())
    return TestKeys(
        stored["rsa_private"], bytes.fromhex(stored["round_private"]), bytes.fromhex(stored["signing_private"])
    )


def ids(name: str) -> tuple[UUID, UUID, UUID]:
    return tuple(UUID(bytes=stream(f"{name}/{kind}", 16), version=4) for kind in ("federation", "agent", "round"))


def header(draft: Draft, keys: TestKeys, rsa: RSA.RsaKey) -> bytes:
    signer = bytes(SigningKey(keys.signing_private).verify_key)
    kids = (
        rsa.public_key().export_key("DER"),
        second_reader.X25519_SPKI + crypto_scalarmult_base(keys.round_private),
        second_reader.ED25519_SPKI + signer,
    )
    return b"".join(
        [
            draft.prefix,
            *(identifier.bytes for identifier in ids(draft.name)),
            stream(f"{draft.name}/base_model", 32),
            stream(f"{draft.name}/schema", 32),
            pack(">IIQQ", draft.num_samples, draft.attempt, draft.seq, draft.issued_ms),
            stream(f"{draft.name}/nonce", 16),
            *(second_reader.kid(spki) for spki in kids),
            pack(">Q", len(draft.payload) if draft.payload_len is None else draft.payload_len),
        ]
    )


def write(draft: Draft, keys: TestKeys) -> bytes:
    rsa = RSA.import_key(keys.rsa_private)
    content_key = stream(f"{draft.name}/content key", draft.content_key_length)
    ephemeral = stream(f"{draft.name}/ephemeral", 32)
    oaep = PKCS1_OAEP.new(rsa, SHA256, lambda seed, n: MGF1(seed, n, SHA256), draft.label, chance(draft.name))
    head = header(draft, keys, rsa) + oaep.encrypt(content_key) + crypto_scalarmult_base(ephemeral)
    shared = crypto_scalarmult(ephemeral, crypto_scalarmult_base(keys.round_private))
    context = hashlib.sha256(head).digest()
    key = HKDF(content_key + shared, 32, context, SHA256, context=b"hospintel/update/v1 input key")
    return sign(head + seal_chunks(draft, key, context), keys)


def chance(name: str) -> Callable[[int], bytes]:
    return lambda length: stream(f"{name}/oaep seed", length)


def seal_chunks(draft: Draft, key: bytes, context: bytes) -> bytes:
    salt = stream(f"{draft.name}/salt", 24)
    info = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0" + salt + context
    derived = second_reader.expand_sha512(key, info, 76)
    out, base = [salt, derived[44:]], int.from_bytes(derived[32:44], "big")
    for index in range(len(draft.payload) // CHUNK + 1):
        cipher = AES.new(derived[:32], AES.MODE_GCM, nonce=(base ^ index).to_bytes(12, "big"))
        out += cipher.encrypt_and_digest(draft.payload[index * CHUNK : (index + 1) * CHUNK])
    return b"".join(out)


def sign(body: bytes, keys: TestKeys) -> bytes:
    message = b"hospintel/update-sig/v1\0" + hashlib.sha512(body).digest()
    return body + SigningKey(keys.signing_private).sign(message).signature


def safetensors_payload() -> bytes:
    """A small head with a report, as an agent sends it, spelled out by hand."""
    report = '{"confusion":[[5,0,0,0],[0,4,1,0],[0,0,3,0],[1,0,0,2]],"loss_micro":7250000,"train_ms":812}'
    tensors = {
        "hidden/bias": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "hidden/kernel": {"dtype": "F32", "shape": [3, 2], "data_offsets": [8, 32]},
    }
    text = json.dumps({"__metadata__": {"report": report}} | tensors, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return pack("<Q", len(text)) + text + pack("<8f", 0.5, -0.5, 1, -2, 3, -4, 5.25, 1e-7)


def drafts() -> list[Draft]:
    plain = [
        Draft(f"size-{size:05}", stream(f"payload {size}", size), seq=1 + i)
        for i, size in enumerate(SMALL + AROUND_CHUNKS)
    ]
    # The largest numbers that each field holds.
    plain[1] = replace(plain[1], num_samples=2**32 - 1, attempt=2**32 - 1, seq=2**64 - 1, issued_ms=2**64 - 1)
    plain[2] = replace(plain[2], num_samples=0, attempt=0, seq=0, issued_ms=0)
    return [*plain, Draft("safetensors", safetensors_payload(), num_samples=16, seq=20)]


def entry(draft: Draft) -> dict[str, Any]:
    federation_id, agent_id, round_id = ids(draft.name)
    return {
        "name": draft.name,
        "federation_id": str(federation_id),
        "agent_id": str(agent_id),
        "round_id": str(round_id),
        "base_model": stream(f"{draft.name}/base_model", 32).hex(),
        "schema": stream(f"{draft.name}/schema", 32).hex(),
        "num_samples": draft.num_samples,
        "attempt": draft.attempt,
        "seq": draft.seq,
        "issued_ms": draft.issued_ms,
        "nonce": stream(f"{draft.name}/nonce", 16).hex(),
        "payload_len": len(draft.payload),
        "payload_sha256": hashlib.sha256(draft.payload).hexdigest(),
    }


def files() -> dict[str, bytes]:
    """Name -> content of all that this script writes."""
    keys = load_keys()
    index = json.dumps([entry(draft) for draft in drafts()], indent=1) + "\n"
    return {"index.json": index.encode()} | {f"{draft.name}.hspu": write(draft, keys) for draft in drafts()}


if __name__ == "__main__":
    for name, content in files().items():
        (FOLDER / name).write_bytes(content)
