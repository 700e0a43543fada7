"""What the page does before a scan goes to the hub, and with what comes back (static/js/analyse/hub.js)."""

import json
import os
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from apps.federation.pipeline import keys

SCAN, ANSWER = b"hospintel scan v1", b"hospintel answer v1"


def seal(data: bytes, key: bytes) -> bytes:
    """Seal a scan's file for the hub."""
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), label=SCAN)
    nonce = os.urandom(12)
    return keys.rsa_public().encrypt(key, oaep) + nonce + AESGCM(key).encrypt(nonce, data, SCAN)


def open_answer(sealed: bytes, key: bytes) -> Any:
    """Open what the hub found."""
    return json.loads(AESGCM(key).decrypt(sealed[:12], sealed[12:], ANSWER))
