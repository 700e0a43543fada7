"""A scan that travels to the hub's worker: sealed in the browser, opened in the worker's memory, nowhere in between.

    384 bytes   a fresh AES-256 key, RSA-3072-OAEP-SHA256 for the hub's key, with the label below
     12 bytes   nonce
      n bytes   AES-256-GCM of the scan's file, with the same label as associated data; its tag

The answer goes back under the same AES key with a nonce of its own, so that only the page that asked can open it.
"""

import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from apps.federation.pipeline.step import Refusal

WRAPPED, NONCE, TAG, KEY = 384, 12, 16, 32
OVERHEAD: Final = WRAPPED + NONCE + TAG
SCAN: Final = b"hospintel scan v1"
ANSWER: Final = b"hospintel answer v1"
_OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), label=SCAN)


def open_scan(data: bytes, private: RSAPrivateKey) -> tuple[bytes, bytes]:
    """Return the scan's file and the key for its answer.

    Raises:
        Refusal: `scan_sealed_wrong` (422), whatever does not fit.
    """
    try:
        key = private.decrypt(data[:WRAPPED], _OAEP)
        if len(key) != KEY:
            raise ValueError(len(key))
        return AESGCM(key).decrypt(data[WRAPPED : WRAPPED + NONCE], data[WRAPPED + NONCE :], SCAN), key
    except (ValueError, InvalidTag) as error:
        raise Refusal("scan_sealed_wrong", "What arrived is not a scan that was sealed for this hub.", 422) from error


def seal_answer(answer: bytes, key: bytes) -> bytes:
    """Seal an answer for the page that holds the key: nonce, then AES-256-GCM."""
    nonce = os.urandom(NONCE)
    return nonce + AESGCM(key).encrypt(nonce, answer, ANSWER)
