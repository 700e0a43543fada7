import base64
import json
from dataclasses import fields, replace
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from sealed import ROUND, RSA, SENDER, SIGNING

from hospintel_core import signing
from hospintel_core.errors import PlanError, SignatureError
from hospintel_core.plan import Manifest, Plan, SignedManifest, open_manifest, sign_manifest

MANIFEST = Manifest(
    kind="train",
    federation_id=UUID(int=1),
    federation="brain-mri",
    run_id=UUID(int=2),
    round_id=UUID(int=3),
    round=7,
    model="ab" * 32,
    version=4,
    architecture="vgg16-head256",
    classes=("glioma", "meningioma", "notumor", "pituitary"),
    plan=Plan(),
    codec="float32",
    schema="cd" * 32,
    rule="fedavg",
    rsa_public_key=RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
    round_public_key=base64.b64encode(signing.public_raw(ROUND.public_key())).decode(),
    issued_ms=1_800_000_000_000,
    deadline_ms=1_800_000_600_000,
    max_bytes=8_500_000,
    attempts=6,
)
EVALUATE = replace(MANIFEST, kind="evaluate", rsa_public_key="", round_public_key="", deadline_ms=None, version=None)
AS_JSON = json.loads(MANIFEST.to_bytes())
PLANS = st.builds(
    Plan,
    epochs=st.integers(1, 100),
    batch_size=st.integers(1, 1024),
    learning_rate=st.floats(0, 1, exclude_min=True),
    seed=st.integers(0, 2**53 - 1),
    mirror=st.booleans(),
)


def refused(call, *arguments, **named):
    with pytest.raises(PlanError) as caught:
        call(*arguments, **named)
    return caught.value.code


def from_json(**changes):
    return refused(Manifest.from_bytes, json.dumps(AS_JSON | changes).encode())


def test_the_defaults_are_those_of_the_design():
    assert Plan().to_dict() == {"epochs": 5, "batch_size": 32, "learning_rate": 1e-4, "seed": 0, "mirror": True}


@given(PLANS)
def test_a_plan_comes_back_as_it_was(plan):
    assert Plan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


def test_missing_fields_of_a_plan_have_their_defaults():
    assert Plan.from_dict({"epochs": 9}) == Plan(epochs=9)


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("plan_field", None),
        ("plan_field", []),
        ("plan_unknown_field", {"epoch": 5}),
        ("plan_unknown_field", {1: 5}),
        ("plan_range", {"epochs": 0}),
        ("plan_range", {"epochs": 101}),
        ("plan_field", {"epochs": 5.0}),
        ("plan_field", {"epochs": True}),
        ("plan_field", {"epochs": "5"}),
        ("plan_field", {"epochs": None}),
        ("plan_range", {"batch_size": 0}),
        ("plan_range", {"batch_size": 1025}),
        ("plan_range", {"learning_rate": 0}),
        ("plan_range", {"learning_rate": -1e-3}),
        ("plan_range", {"learning_rate": 1.5}),
        ("plan_range", {"learning_rate": float("nan")}),
        ("plan_range", {"learning_rate": float("inf")}),
        ("plan_field", {"learning_rate": True}),
        ("plan_field", {"mirror": 1}),
        ("plan_field", {"mirror": "yes"}),
        ("plan_field", {"learning_rate": "1e-4"}),
        ("plan_range", {"seed": -1}),
        ("plan_range", {"seed": 2**53}),
    ],
)
def test_a_plan_out_of_form_or_range_is_refused(code, value):
    assert refused(Plan.from_dict, value) == code


def test_the_limits_of_a_plan_are_accepted():
    Plan(epochs=100, batch_size=1024, learning_rate=1, seed=2**53 - 1)
    Plan(epochs=1, batch_size=1, learning_rate=5e-324)
    assert Plan(learning_rate=1).to_dict()["learning_rate"] == 1.0


@pytest.mark.parametrize("manifest", [MANIFEST, EVALUATE])
def test_a_manifest_comes_back_as_it_was(manifest):
    assert Manifest.from_bytes(manifest.to_bytes()) == manifest
    assert Manifest.from_bytes(manifest.to_bytes()).to_bytes() == manifest.to_bytes()


def test_the_bytes_are_canonical_json():
    assert list(AS_JSON) == sorted(AS_JSON)
    assert MANIFEST.to_bytes() == json.dumps(AS_JSON, sort_keys=True, separators=(",", ":")).encode()


@pytest.mark.parametrize("name", [item.name for item in fields(Manifest)])
def test_every_field_must_be_given_and_none_may_be_of_another_type(name):
    rest = {key: value for key, value in AS_JSON.items() if key != name}
    assert refused(Manifest.from_bytes, json.dumps(rest).encode()) == "plan_field"
    for value in ([], {}, True, 1.5, ["x"], {"x": 1}):
        assert from_json(**{name: value}) in PlanError.codes
    if name not in {"version", "deadline_ms"}:
        assert from_json(**{name: None}) == "plan_field"


def test_an_unknown_field_is_refused_also_inside_the_plan():
    assert from_json(weights="...") == "plan_unknown_field"
    assert from_json(plan=AS_JSON["plan"] | {"script": "..."}) == "plan_unknown_field"


def test_the_plan_in_a_manifest_must_be_complete():
    assert from_json(plan={"epochs": 5}) == "plan_field"


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("plan_field", {"kind": "run"}),
        ("plan_field", {"kind": "trainer"}),
        ("plan_field", {"federation": "Brain MRI"}),
        ("plan_field", {"federation": "../etc"}),
        ("plan_field", {"federation": "-x"}),
        ("plan_field", {"federation": ""}),
        ("plan_field", {"federation": "a" * 65}),
        ("plan_field", {"model": "AB" * 32}),
        ("plan_field", {"model": "ab" * 31}),
        ("plan_field", {"model": "ab" * 32 + "\n"}),
        ("plan_field", {"schema": "zz" * 32}),
        ("plan_field", {"architecture": "vgg16 head"}),
        ("plan_field", {"codec": "../float32"}),
        ("plan_field", {"rule": ""}),
        ("plan_field", {"federation_id": "{00000000-0000-0000-0000-000000000001}"}),
        ("plan_field", {"round_id": "00000000000000000000000000000003"}),
        ("plan_field", {"run_id": "not one"}),
        ("plan_range", {"classes": ["glioma"]}),
        ("plan_range", {"classes": []}),
        ("plan_range", {"classes": [f"c{i}" for i in range(65)]}),
        ("plan_field", {"classes": ["glioma", "glioma"]}),
        ("plan_field", {"classes": ["glioma", 3]}),
        ("plan_field", {"classes": ["glioma", "no tumor/.."]}),
        ("plan_field", {"classes": "glioma"}),
        ("plan_range", {"round": -1}),
        ("plan_range", {"version": -1}),
        ("plan_range", {"deadline_ms": -1}),
        ("plan_range", {"max_bytes": -1}),
        ("plan_range", {"issued_ms": 2**53}),
        ("plan_range", {"attempts": -1}),
        ("plan_range", {"plan": AS_JSON["plan"] | {"epochs": 1000}}),
        ("plan_field", {"rsa_public_key": ""}),
        ("plan_field", {"rsa_public_key": "ssh-rsa AAAA"}),
        ("plan_field", {"round_public_key": ""}),
        ("plan_field", {"round_public_key": "AAAA"}),
        ("plan_field", {"round_public_key": "A" * 43}),
        ("plan_field", {"round_public_key": "é" * 44}),
        ("plan_field", {"kind": "evaluate"}),
    ],
)
def test_a_manifest_out_of_form_or_range_is_refused(code, changes):
    assert from_json(**changes) == code


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"null", b"\xff", b"{", b'{"kind":"train","kind":"train"}', b'{"round":NaN}', b"[" * 60_000]
)
def test_bytes_that_are_not_one_strict_object_are_refused(data):
    assert refused(Manifest.from_bytes, data) == "plan_json"


def test_a_manifest_has_at_most_64_kib():
    padded = MANIFEST.to_bytes() + b" " * 65_536
    assert Manifest.from_bytes(padded[:65_536]) == MANIFEST
    assert refused(Manifest.from_bytes, padded[:65_537]) == "plan_json"


def test_a_signed_manifest_survives_the_wire_and_opens():
    signed = sign_manifest(MANIFEST, SIGNING)
    wire = json.loads(json.dumps(signed.to_wire()))
    assert SignedManifest.from_wire(wire) == signed
    assert open_manifest(SignedManifest.from_wire(wire), SENDER) == MANIFEST
    assert wire["kid"] == signing.key_id(SENDER).hex()


def signature_refused(signed, key=SENDER):
    with pytest.raises(SignatureError) as caught:
        open_manifest(signed, key)
    return caught.value.code


def test_a_changed_manifest_does_not_open():
    signed = sign_manifest(MANIFEST, SIGNING)
    changed = replace(MANIFEST, round=8).to_bytes()
    assert signature_refused(replace(signed, body=changed)) == "signature_invalid"
    assert signature_refused(replace(signed, body=signed.body + b" ")) == "signature_invalid"
    assert signature_refused(replace(signed, signature=bytes(64))) == "signature_invalid"


def test_a_manifest_of_another_hub_does_not_open_and_the_hint_says_what_to_do():
    other = Ed25519PrivateKey.generate()
    assert signature_refused(sign_manifest(MANIFEST, other)) == "signature_key"
    relabelled = replace(sign_manifest(MANIFEST, other), kid=signing.key_id(SENDER))
    assert signature_refused(relabelled) == "signature_invalid"


def test_a_signature_of_another_domain_does_not_open_a_manifest():
    body = MANIFEST.to_bytes()
    report = SignedManifest(body, signing.sign(signing.DOMAIN_REPORT, body, SIGNING), signing.key_id(SENDER))
    assert signature_refused(report) == "signature_invalid"


def test_the_signature_is_checked_before_the_form():
    assert signature_refused(SignedManifest(b"{", bytes(64), signing.key_id(SENDER))) == "signature_invalid"
    body = b"{"
    signed = SignedManifest(body, signing.sign(signing.DOMAIN_MANIFEST, body, SIGNING), signing.key_id(SENDER))
    assert refused(open_manifest, signed, SENDER) == "plan_json"


WIRE = sign_manifest(MANIFEST, SIGNING).to_wire()


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"manifest": WIRE["manifest"], "kid": WIRE["kid"]},
        WIRE | {"more": ""},
        WIRE | {"kid": "xx"},
        WIRE | {"kid": 5},
        WIRE | {"signature": "*"},
        WIRE | {"signature": None},
        WIRE | {"manifest": "\ud800"},
        WIRE | {"manifest": {}},
    ],
)
def test_a_wire_form_that_is_not_ours_is_refused(value):
    assert refused(SignedManifest.from_wire, value) == "plan_field"


@given(st.binary(max_size=80))
def test_no_bytes_bring_out_another_error(data):
    assert refused(Manifest.from_bytes, data) == "plan_json" or data == b"{}"
