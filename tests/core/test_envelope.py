import dataclasses

import make_golden
import pytest
import second_reader
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st
from sealed import ROUND, RSA, SENDER, SIGNING, TEST_KEYS, fields, open_it, replaced, resign, seal

from hospintel_core import envelope, signing
from hospintel_core.errors import EnvelopeError

SIZES = [0, 1, 16_383, 16_384, 16_385, 32_768, 100_000]
ZERO_KEY = bytes(32)


def refused(data, **keys):
    with pytest.raises(EnvelopeError) as caught:
        open_it(data, **keys)
    return caught.value.code


@pytest.mark.parametrize("size", SIZES)
def test_a_sealed_payload_opens_to_itself(size):
    payload = bytes(range(256)) * (size // 256 + 1)
    header, opened = open_it(seal(payload[:size]))
    assert opened == payload[:size]
    assert header.payload_len == size
    assert dataclasses.asdict(header).items() >= dataclasses.asdict(fields()).items()


@pytest.mark.parametrize("size", SIZES)
def test_the_sealed_size_is_known_beforehand(size):
    assert len(seal(bytes(size))) == envelope.sealed_size(size) == 728 + size + 16 * (size // 16_384 + 1)


@settings(max_examples=25, deadline=None)
@given(payload=st.binary(max_size=40_000), num_samples=st.integers(0, 2**32 - 1), seq=st.integers(0, 2**64 - 1))
def test_the_second_reader_opens_what_we_seal(payload, num_samples, seq):
    sealed = seal(payload, num_samples=num_samples, seq=seq)
    update = second_reader.read(sealed, TEST_KEYS.for_reader())
    assert (update.payload, update.num_samples, update.seq) == (payload, num_samples, seq)


def test_two_sealings_of_the_same_payload_share_no_secret_bytes():
    one, two = seal(b"same"), seal(b"same")
    assert one[:144] == two[:144]
    assert one[144:160] != two[144:160]
    assert one[192:576] != two[192:576]
    assert one[576:608] != two[576:608]
    assert one[608:632] != two[608:632]


def test_each_sealing_has_a_content_key_of_its_own():
    keys = {RSA.decrypt(seal(b"same")[192:576], envelope._OAEP) for _ in range(3)}
    assert {len(key) for key in keys} == {32}
    assert len(keys | {bytes(32)}) == 4


def test_the_payload_cannot_be_seen_in_the_envelope():
    assert b"a hospital's weights" not in seal(b"a hospital's weights" * 1000)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_can_be_sealed_and_opened(kind):
    assert open_it(kind(seal(kind(b"weights"))))[1] == b"weights"


def test_verify_needs_no_private_key_and_gives_the_header():
    sealed = seal(b"weights", num_samples=33)
    header = envelope.verify(sealed, SENDER)
    assert header == envelope.parse_header(sealed[:192])
    assert header.num_samples == 33
    assert (header.rsa_kid, header.round_kid, header.sig_kid) == tuple(
        signing.key_id(key) for key in (RSA.public_key(), ROUND.public_key(), SENDER)
    )


@pytest.mark.parametrize(
    ("code", "start", "new"),
    [
        ("envelope_magic", 0, b"HSPV"),
        ("envelope_version", 4, b"\x02"),
        ("envelope_version", 4, b"\x00"),
        ("envelope_suite", 5, b"\x02"),
        ("envelope_suite", 5, b"\x00"),
        ("envelope_type", 6, b"\x02"),
        ("envelope_flags", 7, b"\x01"),
        ("envelope_length", 184, (101).to_bytes(8, "big")),
        ("envelope_length", 184, (2**64 - 1).to_bytes(8, "big")),
        ("envelope_signer", 176, b"12345678"),
        ("envelope_key", 160, b"12345678"),
        ("envelope_key", 168, b"12345678"),
        ("envelope_unwrap", 192, bytes(384)),
        ("envelope_unwrap", 192, b"\xff" * 384),
        ("envelope_exchange", 576, ZERO_KEY),
        ("envelope_exchange", 576, (1).to_bytes(32, "little")),
        ("envelope_commitment", 608, bytes(24)),
        ("envelope_commitment", 632, bytes(32)),
        ("envelope_payload", 664, bytes(10)),
    ],
)
def test_each_refusal_has_its_own_code_even_under_a_valid_signature(code, start, new):
    assert refused(resign(replaced(seal(bytes(100)), start, new))) == code


@pytest.mark.parametrize("start", [8, 24, 40, 56, 88, 120, 124, 128, 136, 144])
def test_every_header_field_is_bound_to_the_payload(start):
    sealed = seal(bytes(100))
    changed = replaced(sealed, start, bytes([sealed[start] ^ 1]))
    assert refused(changed) == "envelope_signature"
    assert refused(resign(changed)) == "envelope_commitment"


def test_the_wrapped_key_and_the_ephemeral_key_are_bound_to_the_payload():
    sealed, other = seal(bytes(100)), seal(bytes(100))
    assert refused(resign(replaced(sealed, 192, other[192:576]))) == "envelope_commitment"
    assert refused(resign(replaced(sealed, 576, other[576:608]))) == "envelope_commitment"


def test_the_first_failing_check_names_the_refusal():
    """From the outside in: form, lengths, signer, signature, keys, commitment, payload."""
    sealed = bytearray(seal(bytes(100)))
    sealed[-1] ^= 1
    damage = [
        (664, "envelope_signature"),
        (168, "envelope_signature"),
        (176, "envelope_signer"),
        (191, "envelope_length"),
        (7, "envelope_flags"),
        (6, "envelope_type"),
        (5, "envelope_suite"),
        (4, "envelope_version"),
        (0, "envelope_magic"),
    ]
    for position, code in damage:
        sealed[position] ^= 0x80
        assert refused(bytes(sealed)) == code
    assert refused(bytes(sealed[:191])) == "envelope_truncated"


def test_a_short_read_is_truncated_and_a_wrong_length_is_named():
    sealed = seal(bytes(20_000))
    assert refused(b"") == "envelope_truncated"
    assert refused(sealed[:191]) == "envelope_truncated"
    assert refused(sealed[:743]) == "envelope_truncated"
    assert refused(sealed[:744]) == "envelope_length"
    assert refused(sealed[:-1]) == "envelope_length"
    assert refused(sealed + b"\0") == "envelope_length"


def test_chunks_cannot_be_swapped_even_by_the_agent_itself():
    sealed = seal(bytes(40_000))
    first, second = sealed[664 : 664 + 16_400], sealed[664 + 16_400 : 664 + 32_800]
    assert refused(resign(replaced(sealed, 664, second + first))) == "envelope_payload"


def test_a_damaged_last_chunk_is_refused():
    sealed = seal(bytes(16_384))
    assert refused(resign(replaced(sealed, len(sealed) - 70, b"\xaa" * 6))) == "envelope_payload"


def test_an_update_of_another_agent_is_refused():
    other = Ed25519PrivateKey.generate()
    assert refused(seal(b"x"), sender=other.public_key()) == "envelope_signer"
    forged = replaced(seal(b"x"), 176, signing.key_id(other.public_key()))
    assert refused(forged, sender=other.public_key()) == "envelope_signature"


def test_an_update_sealed_to_other_keys_is_refused():
    assert refused(seal(b"x"), rsa=generate_private_key(65537, 3072)) == "envelope_key"
    assert refused(seal(b"x"), round_key=X25519PrivateKey.generate()) == "envelope_key"


def test_both_private_keys_are_needed():
    """With the RSA key alone, as after the round key is erased, the payload stays closed, key ids or not."""
    other = X25519PrivateKey.generate()
    relabelled = replaced(seal(b"x"), 168, signing.key_id(other.public_key()))
    assert refused(resign(relabelled), round_key=other) == "envelope_commitment"


def test_a_signature_of_another_domain_is_refused():
    body = seal(b"x")[:-64]
    assert refused(body + signing.sign(signing.DOMAIN_REPORT, body, SIGNING)) == "envelope_signature"


@pytest.mark.parametrize(
    "changes",
    [{"content_key_length": 31}, {"content_key_length": 33}, {"content_key_length": 0}, {"label": b""}],
)
def test_a_wrapped_key_of_another_length_or_label_is_refused(changes):
    hostile = make_golden.write(make_golden.Draft("hostile", b"weights", **changes), TEST_KEYS)
    assert refused(hostile) == "envelope_unwrap"


def test_a_header_that_lies_about_the_payload_is_refused_even_if_all_else_is_consistent():
    hostile = make_golden.write(make_golden.Draft("hostile", bytes(100), payload_len=99), TEST_KEYS)
    assert refused(hostile) == "envelope_length"


def test_more_than_the_cap_is_neither_sealed_nor_verified(monkeypatch):
    sealed = seal(bytes(1000))
    monkeypatch.setattr(envelope, "MAX_SIZE", len(sealed))
    assert open_it(sealed)[1] == bytes(1000)
    monkeypatch.setattr(envelope, "MAX_SIZE", len(sealed) - 1)
    assert refused(sealed) == "envelope_length"
    with pytest.raises(EnvelopeError) as caught:
        seal(bytes(1000))
    assert caught.value.code == "envelope_length"


def test_the_cap_is_256_mib():
    assert envelope.MAX_SIZE == 268_435_456


@pytest.mark.parametrize("bits", [2048, 4096])
def test_only_rsa_3072_is_sealed_to(bits):
    key = generate_private_key(65537, bits).public_key()
    with pytest.raises(EnvelopeError) as caught:
        envelope.seal(b"", fields(), rsa_public=key, round_public=ROUND.public_key(), signing_key=SIGNING)
    assert caught.value.code == "envelope_key"


def test_a_round_key_of_low_order_is_not_sealed_to():
    low = X25519PublicKey.from_public_bytes(ZERO_KEY)
    with pytest.raises(EnvelopeError) as caught:
        envelope.seal(b"", fields(), rsa_public=RSA.public_key(), round_public=low, signing_key=SIGNING)
    assert caught.value.code == "envelope_key"


@pytest.mark.parametrize(
    "changes",
    [
        {"base_model": b"b" * 31},
        {"schema": b"s" * 33},
        {"num_samples": -1},
        {"num_samples": 2**32},
        {"attempt": 2**32},
        {"seq": 2**64},
        {"seq": -1},
        {"now_ms": 2**64},
    ],
)
def test_a_header_value_that_does_not_fit_is_refused_before_sealing(changes):
    with pytest.raises(EnvelopeError) as caught:
        fields(**changes)
    assert caught.value.code == "envelope_field"
