"""Published attack vectors (C2SP/wycheproof) against the primitives, called as envelope.py and signing.py call them.

The vectors lie beside the checkout, not in it; each test says so and is skipped where they are missing.
"""

import json
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from hospintel_core import signing

FOLDER = Path(__file__).parents[3] / "shared" / "vectors" / "wycheproof"


def cases(file):
    path = FOLDER / file
    if not path.exists():
        pytest.skip(f"The Wycheproof vectors are not beside the checkout: {file} is missing.")
    return [
        (group, {key: _unhex(value) if key in HEX else value for key, value in test.items()})
        for group in json.loads(path.read_text())["testGroups"]
        for test in group["tests"]
    ]


HEX = {
    "key",
    "iv",
    "aad",
    "msg",
    "ct",
    "tag",
    "sig",
    "public",
    "private",
    "shared",
    "ikm",
    "salt",
    "info",
    "okm",
    "label",
}


def _unhex(text):
    return bytes.fromhex(text)


def check(tests, attempt, expected_count):
    """Every valid case gives its result, every invalid one is refused; acceptable ones may do either."""
    wrong = []
    for group, test in tests:
        try:
            worked = attempt(group, test)
        except (ValueError, InvalidTag, InvalidSignature):
            worked = False
        if test["result"] != "acceptable" and worked != (test["result"] == "valid"):
            wrong.append((test["tcId"], test["comment"]))
    assert wrong == []
    assert len(tests) == expected_count


def test_rsa_oaep_3072_with_sha256_and_mgf1_sha256():
    keys = {}

    def attempt(group, test):
        pem = group["privateKeyPem"]
        key = keys.setdefault(pem, None) or load_pem_private_key(pem.encode(), password=None)
        keys[pem] = key
        return key.decrypt(test["ct"], OAEP(MGF1(SHA256()), SHA256(), test["label"])) == test["msg"]

    check(cases("rsa_oaep_3072_sha256_mgf1sha256_test.json"), attempt, 37)


def test_aes_gcm_with_the_nonces_of_96_bits_that_we_use():
    def attempt(_, test):
        cipher = AESGCM(test["key"])
        opened = cipher.decrypt(test["iv"], test["ct"] + test["tag"], test["aad"])
        return opened == test["msg"] and cipher.encrypt(test["iv"], opened, test["aad"]) == test["ct"] + test["tag"]

    check([case for case in cases("aes_gcm_test.json") if case[0]["ivSize"] == 96], attempt, 197)


def test_ed25519():
    def attempt(group, test):
        key = signing.ed25519_from_raw(bytes.fromhex(group["publicKey"]["pk"]))
        key.verify(test["sig"], test["msg"])
        return True

    check(cases("ed25519_test.json"), attempt, 151)


def test_x25519():
    def attempt(_, test):
        public = X25519PublicKey.from_public_bytes(test["public"])
        return X25519PrivateKey.from_private_bytes(test["private"]).exchange(public) == test["shared"]

    check(cases("x25519_test.json"), attempt, 518)


def test_x25519_refuses_every_all_zero_secret():
    zero = [test for _, test in cases("x25519_test.json") if not any(test["shared"])]
    assert len(zero) > 10
    for test in zero:
        with pytest.raises(ValueError, match="shared key"):
            X25519PrivateKey.from_private_bytes(test["private"]).exchange(
                X25519PublicKey.from_public_bytes(test["public"])
            )


def test_hkdf_sha256():
    def attempt(_, test):
        kdf = HKDF(algorithm=SHA256(), length=test["size"], salt=test["salt"], info=test["info"])
        return kdf.derive(test["ikm"]) == test["okm"]

    check(cases("hkdf_sha256_test.json"), attempt, 86)
