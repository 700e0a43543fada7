"""An identity is followed exactly where signatures lead to it from the pinned one."""

import base64
from itertools import pairwise

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hospintel_core import identity, signing
from hospintel_core.errors import SignatureError

KEYS = [Ed25519PrivateKey.generate() for _ in range(4)]
PUBLIC = [key.public_key() for key in KEYS]
KIDS = [signing.key_id(key) for key in PUBLIC]


def link(new, signer, *, domain=signing.DOMAIN_IDENTITY):
    public = new.public_key()
    signature = signing.sign(domain, identity.pem_of(public).encode(), signer)
    return identity.Link(public, signing.key_id(signer.public_key()), signature)


FIRST = identity.Link(PUBLIC[0], b"", b"")
CHAIN = [*reversed([link(new, old) for old, new in pairwise(KEYS)]), FIRST]


@pytest.mark.parametrize("pinned", range(4))
@pytest.mark.parametrize("wanted", range(4))
def test_the_chain_is_followed_forwards_only(pinned, wanted):
    found = identity.follow(PUBLIC[pinned], CHAIN, KIDS[wanted])
    assert found == (PUBLIC[wanted] if wanted >= pinned else None)


def test_the_order_of_the_chain_does_not_matter():
    assert identity.follow(PUBLIC[0], CHAIN[::-1], KIDS[3]) == PUBLIC[3]


def test_a_key_outside_the_chain_is_not_reached():
    stranger = Ed25519PrivateKey.generate()
    assert identity.follow(PUBLIC[0], CHAIN, signing.key_id(stranger.public_key())) is None
    assert identity.follow(stranger.public_key(), CHAIN, KIDS[3]) is None
    assert identity.follow(PUBLIC[0], [], KIDS[1]) is None


def test_a_link_with_a_gap_before_it_is_not_followed():
    assert identity.follow(PUBLIC[0], [entry for entry in CHAIN if entry.kid != KIDS[1]], KIDS[3]) is None


@pytest.mark.parametrize(
    "forged",
    [
        identity.Link(PUBLIC[1], KIDS[0], bytes(64)),
        identity.Link(PUBLIC[1], KIDS[0], b""),
        identity.Link(PUBLIC[1], KIDS[0], link(KEYS[1], KEYS[2]).signature),
        identity.Link(PUBLIC[1], KIDS[0], link(KEYS[2], KEYS[0]).signature),
        link(KEYS[1], KEYS[0], domain=signing.DOMAIN_MANIFEST),
    ],
    ids=["zeros", "none", "another signer", "another key", "another domain"],
)
def test_a_link_that_the_one_before_did_not_sign_is_not_followed(forged):
    assert identity.follow(PUBLIC[0], [forged], KIDS[1]) is None


def test_a_circle_ends():
    circle = [link(KEYS[1], KEYS[2]), link(KEYS[2], KEYS[1])]
    assert identity.follow(PUBLIC[0], circle, KIDS[2]) is None


def test_links_survive_the_wire():
    assert [identity.Link.from_wire(entry.to_wire()) for entry in CHAIN] == CHAIN


WIRE = CHAIN[0].to_wire()


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        WIRE | {"more": "x"},
        {name: text for name, text in WIRE.items() if name != "pem"},
        WIRE | {"kid": CHAIN[1].to_wire()["kid"]},
        WIRE | {"pem": CHAIN[1].to_wire()["pem"]},
        WIRE | {"pem": WIRE["pem"] + "\n"},
        WIRE | {"signed_by": 7},
        WIRE | {"signed_by": "xy"},
        WIRE | {"signature": "!"},
        WIRE | {"signature": "ü"},
        WIRE | {"public_key": "AAAA"},
        WIRE | {"public_key": base64.b64encode(bytes([1]) + bytes(31)).decode()},
    ],
)
def test_a_link_of_another_form_is_refused(value):
    with pytest.raises(SignatureError) as caught:
        identity.Link.from_wire(value)
    assert caught.value.code == "signature_key"
