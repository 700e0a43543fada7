"""Twenty frozen envelopes that this and every later version must open, as must a reader that shares no code with us."""

import hashlib
import json

import make_golden
import pytest
import second_reader
from sealed import TEST_KEYS, open_it

INDEX = json.loads((make_golden.FOLDER / "index.json").read_text())
FIELDS = ("federation_id", "agent_id", "round_id", "num_samples", "attempt", "seq", "issued_ms")
DIGESTS = ("base_model", "schema", "nonce")

each_golden = pytest.mark.parametrize("entry", INDEX, ids=[entry["name"] for entry in INDEX])


def sealed(entry):
    return (make_golden.FOLDER / f"{entry['name']}.hspu").read_bytes()


def check(header, payload, entry):
    for name in FIELDS:
        assert str(getattr(header, name)) == str(entry[name])
    for name in DIGESTS:
        assert getattr(header, name).hex() == entry[name]
    assert len(payload) == entry["payload_len"]
    assert hashlib.sha256(payload).hexdigest() == entry["payload_sha256"]


def test_there_are_twenty():
    assert len({entry["name"] for entry in INDEX}) == 20


@each_golden
def test_we_open_it(entry):
    header, payload = open_it(sealed(entry))
    check(header, payload, entry)
    assert header.payload_len == entry["payload_len"]


@each_golden
def test_the_second_reader_opens_it(entry):
    update = second_reader.read(sealed(entry), TEST_KEYS.for_reader())
    check(update, update.payload, entry)


@each_golden
def test_the_second_reader_refuses_it_once_damaged(entry):
    data = bytearray(sealed(entry))
    data[len(data) // 2] ^= 1
    with pytest.raises(second_reader.RefusedError):
        second_reader.read(bytes(data), TEST_KEYS.for_reader())


def test_the_script_writes_the_same_files_again():
    for name, content in make_golden.files().items():
        assert (make_golden.FOLDER / name).read_bytes() == content, name
