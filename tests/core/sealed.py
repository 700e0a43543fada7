"""What the envelope's tests share: the TEST ONLY keys and one update sealed with them."""

from uuid import UUID

import make_golden
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from hospintel_core import envelope, signing

TEST_KEYS = make_golden.load_keys()
RSA = load_pem_private_key(TEST_KEYS.rsa_private.encode(), password=None)
ROUND = X25519PrivateKey.from_private_bytes(TEST_KEYS.round_private)
SIGNING = Ed25519PrivateKey.from_private_bytes(TEST_KEYS.signing_private)
SENDER = SIGNING.public_key()


def fields(**changes):
    return envelope.new_header(
        **{
            "federation_id": UUID(int=1),
            "agent_id": UUID(int=2),
            "round_id": UUID(int=3),
            "base_model": b"b" * 32,
            "schema": b"s" * 32,
            "num_samples": 10,
            "attempt": 1,
            "seq": 7,
            "now_ms": 1_800_000_000_000,
        }
        | changes
    )


def seal(payload, **changes):
    return envelope.seal(
        payload,
        fields(**changes),
        rsa_public=RSA.public_key(),
        round_public=ROUND.public_key(),
        signing_key=SIGNING,
    )


def open_it(data, *, sender=SENDER, rsa=RSA, round_key=ROUND):
    return envelope.open_envelope(data, sender=sender, rsa_private=rsa, round_private=round_key)


def resign(data):
    """The same bytes with a valid signature of the same agent over what is in front of the last 64."""
    body = bytes(data[:-64])
    return body + signing.sign(signing.DOMAIN_UPDATE, body, SIGNING)


def replaced(data, start, new):
    return data[:start] + new + data[start + len(new) :]
