import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from sealed import ROUND, RSA, SENDER, SIGNING

from hospintel_core import signing
from hospintel_core.errors import SignatureError

DOMAINS = [
    signing.DOMAIN_MANIFEST,
    signing.DOMAIN_REPORT,
    signing.DOMAIN_ENROL,
    signing.DOMAIN_CHECKPOINT,
    signing.DOMAIN_UPDATE,
    signing.DOMAIN_IDENTITY,
]


def refused(domain, message, signature, key=SENDER):
    with pytest.raises(SignatureError) as caught:
        signing.verify(domain, message, signature, key)
    return caught.value.code == "signature_invalid"


def test_the_domains_differ_and_none_is_another_with_more_text():
    assert len({domain + b"\0" for domain in DOMAINS}) == len(DOMAINS)
    assert not any(b"\0" in domain for domain in DOMAINS)


@given(message=st.binary(max_size=200), domain=st.sampled_from(DOMAINS))
def test_a_signature_holds_for_its_own_message_and_domain_only(message, domain):
    signature = signing.sign(domain, message, SIGNING)
    signing.verify(domain, message, signature, SENDER)
    assert refused(domain, message + b"\0", signature)
    assert all(refused(other, message, signature) for other in DOMAINS if other != domain)


def test_what_is_signed_is_the_domain_a_zero_byte_and_the_sha512_of_the_message():
    signature = signing.sign(signing.DOMAIN_REPORT, b"body", SIGNING)
    SENDER.verify(signature, b"hospintel/report/v1\0" + hashlib.sha512(b"body").digest())


def test_a_signature_of_another_key_is_refused():
    assert refused(b"d", b"m", signing.sign(b"d", b"m", Ed25519PrivateKey.generate()))


@pytest.mark.parametrize("signature", [b"", bytes(63), bytes(64), bytes(65)])
def test_a_signature_of_a_wrong_form_is_refused(signature):
    assert refused(b"d", b"m", signature)


@pytest.mark.parametrize("key", [SENDER, ROUND.public_key(), RSA.public_key()])
def test_key_ids_and_fingerprints_come_from_the_spki(key):
    spki = hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    assert signing.key_id(key) == spki.digest()[:8]
    groups = signing.fingerprint(key).split(" ")
    assert [len(group) for group in groups] == [4] * 16
    assert "".join(groups) == spki.hexdigest()


def test_public_keys_survive_the_trip_as_raw_bytes():
    assert signing.ed25519_from_raw(signing.public_raw(SENDER)) == SENDER
    assert signing.x25519_from_raw(signing.public_raw(ROUND.public_key())) == ROUND.public_key()


@pytest.mark.parametrize("load", [signing.ed25519_from_raw, signing.x25519_from_raw])
@pytest.mark.parametrize("raw", [b"", bytes(31), bytes(33)])
def test_raw_bytes_of_a_wrong_length_are_no_key(load, raw):
    with pytest.raises(SignatureError) as caught:
        load(raw)
    assert caught.value.code == "signature_key"


def test_the_enrolment_proof_binds_the_code_to_the_key():
    raw = signing.public_raw(SENDER)
    message = signing.enrol_proof_message("one-time ünïcode", raw)
    assert message == hashlib.sha256("one-time ünïcode".encode()).digest() + raw
    proof = signing.sign(signing.DOMAIN_ENROL, message, SIGNING)
    signing.verify(signing.DOMAIN_ENROL, message, proof, SENDER)
    assert refused(signing.DOMAIN_ENROL, signing.enrol_proof_message("another code", raw), proof)


P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P


def added(one, other):
    """Points of the curve, affine (RFC 8032 5.1.4)."""
    (x1, y1), (x2, y2) = one, other
    product = D * x1 * x2 * y1 * y2
    x3 = (x1 * y2 + x2 * y1) * pow(1 + product, -1, P) % P
    return x3, (y1 * y2 + x1 * x2) * pow(1 - product, -1, P) % P


def points_of_small_order():
    """All multiples of a point of order 8, found as L times a point that is none of the base point's."""
    order = 2**252 + 27742317777372353535851937790883648493
    y = 0
    while True:
        y += 1
        x2 = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
        x = pow(x2, (P + 3) // 8, P)
        x = x if x * x % P == x2 else x * pow(2, (P - 1) // 4, P) % P
        if x * x % P != x2:
            continue
        found, power, left = (0, 1), (x, y), order
        while left:
            found, power, left = added(found, power) if left & 1 else found, added(power, power), left >> 1
        multiples = [(0, 1)]
        while (following := added(multiples[-1], found)) != (0, 1):
            multiples.append(following)
        if len(multiples) == 8:
            return multiples


def test_a_key_under_which_one_signature_holds_for_every_message_is_refused():
    identity = (1).to_bytes(32, "little")
    forged = identity + bytes(32)
    Ed25519PublicKey.from_public_bytes(identity).verify(forged, b"whatever")
    for x, y in points_of_small_order():
        with pytest.raises(SignatureError) as caught:
            signing.ed25519_from_raw((y | (x & 1) << 255).to_bytes(32, "little"))
        assert caught.value.code == "signature_key"


@pytest.mark.parametrize("sign", [0, 1])
@pytest.mark.parametrize("y", range(19))
def test_a_key_in_a_second_spelling_is_refused(y, sign):
    with pytest.raises(SignatureError):
        signing.ed25519_from_raw((P + y | sign << 255).to_bytes(32, "little"))
