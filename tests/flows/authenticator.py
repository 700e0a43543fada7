"""What a phone's app does: codes from a secret (RFC 6238), written down here a second time."""

import base64
import hmac
import struct
import time

STEP = 30


def code_of(secret: str, later: int = 0) -> str:
    """The code that the app shows now, or so many steps later.

    `secret` is as people type it: base32, in groups or not.
    """
    key = base64.b32decode(secret.replace(" ", ""))
    digest = hmac.digest(key, struct.pack(">Q", int(time.time()) // STEP + later), "sha1")
    start = digest[-1] & 15
    return f"{(int.from_bytes(digest[start : start + 4]) & 0x7FFFFFFF) % 1_000_000:06}"
