import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
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
