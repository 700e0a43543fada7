"""The chunk layer against published vectors of C2SP chunked-encryption, in our dependency and in the second reader."""

import hashlib
import json
import zlib
from pathlib import Path

import pytest
import second_reader
from cryptography.cobblestone import Cobblestone256Decryptor
from cryptography.exceptions import InvalidTag

from hospintel_core import envelope
from hospintel_core.errors import EnvelopeError

VECTORS = json.loads((Path(__file__).parent / "vectors" / "cobblestone256.json").read_text())["tests"]
VALID = [test for test in VECTORS if test["result"] == "valid"]
INVALID = [test for test in VECTORS if test["result"] == "invalid"]


def parts(test):
    return zlib.decompress(bytes.fromhex(test["ct"])), bytes.fromhex(test["key"]), bytes.fromhex(test["ctx"])


def name(test):
    return test["comment"]


def by_library(message, key, context):
    decryptor = Cobblestone256Decryptor(key, context)
    return decryptor.update(message) + decryptor.finalize()


def by_envelope(message, key, context):
    body = len(message) - 56
    return envelope._decrypt(memoryview(message), max(0, body - 16 * (body // 16_400 + 1)), key, context)


READERS = pytest.mark.parametrize("reader", [by_library, by_envelope, second_reader.open_chunks])


@READERS
@pytest.mark.parametrize("test", VALID, ids=name)
def test_a_valid_message_opens(test, reader):
    message = reader(*parts(test))
    assert len(message) == test["msgLength"]
    assert hashlib.sha512(message).hexdigest() == test["msgSha512"]


@READERS
@pytest.mark.parametrize("test", INVALID, ids=name)
def test_an_invalid_message_is_refused(test, reader):
    with pytest.raises((InvalidTag, EnvelopeError, second_reader.RefusedError)):
        reader(*parts(test))
