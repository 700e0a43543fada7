"""Files that somebody made up: the standalone verifier answers each, and says of none that it holds."""

import hashlib
import importlib.util
import json
import random
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from apps.audit import checkpoints, export
from apps.audit.api import record, transaction
from apps.audit.chain import canonical
from hospintel_core import identity, signing

pytestmark = pytest.mark.django_db
TOOL = Path(__file__).resolve().parents[2] / "tools" / "verify_audit_export.py"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KID = signing.key_id(KEY.public_key()).hex()
LENGTH, TIMES = 12, 1500
JUNK = [None, 1, -1, 1.5, "x", "", [], {}, True, "\ud800", 10**30, [1], "0" * 64, "5"]
# What is said for people's information, and nothing follows from.
INFORMATIVE = {"exported_us"}
# The oldest identity is signed by nobody, and a key's id follows from the key.
INFORMATIVE_OF_OLDEST = {"kid", "signed_by", "signature"}


@pytest.fixture
def lines():
    """An honest export, with a checkpoint in the middle and one at the end."""
    for number in range(LENGTH):
        with transaction():
            record("test.done", actor="user:1", obj=f"x:{number}", number=number)
        if number in {LENGTH // 2, LENGTH - 1}:
            checkpoints.make((KID, lambda body: signing.sign(signing.DOMAIN_CHECKPOINT, body, KEY)))
    return list(export.lines([identity.Link(KEY.public_key(), b"", b"").to_wire()]))


@pytest.fixture(scope="module")
def verifier():
    """The script's own `main`, in this process: a process for each file would take minutes."""
    spec = importlib.util.spec_from_file_location("verify_audit_export", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def odd(rng, value):
    """Put something else in one place of an object, at any depth."""
    if not isinstance(value, dict | list) or not value or rng.random() < 0.1:
        return rng.choice(JUNK)
    place = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
    copy = value.copy()
    if rng.random() < 0.2:
        del copy[place]
    elif place == "body" and isinstance(value[place], str):
        body = odd(rng, json.loads(value[place]))
        copy[place] = json.dumps(body, sort_keys=True, separators=(",", ":")) if rng.random() < 0.9 else "[" * 100_000
        if rng.random() < 0.5 and "hash" in copy:
            copy["hash"] = hashlib.sha256(b"\0" + copy[place].encode()).hexdigest()
    elif isinstance(value[place], str) and value[place]:
        at = rng.randrange(len(value[place]))
        copy[place] = value[place][:at] + rng.choice('0aZ{\\"') + value[place][at + 1 :]
    else:
        copy[place] = odd(rng, value[place])
    return copy


def test_whatever_a_file_says_it_is_answered_and_does_not_hold(lines, verifier, tmp_path, monkeypatch, capsys):
    rng = random.Random(9)
    path = tmp_path / "audit.jsonl"
    monkeypatch.setattr(sys, "argv", ["verify", str(path)])
    answers = {1: 0, 2: 0}
    for _ in range(TIMES):
        at = rng.randrange(len(lines))
        honest = json.loads(lines[at])
        made_up = odd(rng, honest)
        if made_up == honest or (isinstance(made_up, dict) and without(made_up) == without(honest)):
            continue
        path.write_text("".join([*lines[:at], json.dumps(made_up) + "\n", *lines[at + 1 :]]))
        answer = verifier()
        assert answer in answers, (answer, honest, made_up)
        answers[answer] += 1
        capsys.readouterr()
    assert min(answers.values()) > TIMES // 10


def without(said):
    left = {name: value for name, value in said.items() if name not in INFORMATIVE}
    match left:
        case {"identities": [dict() as oldest]}:
            left["identities"] = {name: text for name, text in oldest.items() if name not in INFORMATIVE_OF_OLDEST}
    return left


def test_an_export_that_lost_a_checkpoint_is_not_whole(lines, verifier, tmp_path, monkeypatch, capsys):
    path = tmp_path / "audit.jsonl"
    path.write_text("".join(line for line in lines if f'"seq\\":{LENGTH},' not in line or '"kind":"entry"' in line))
    monkeypatch.setattr(sys, "argv", ["verify", str(path)])
    assert verifier() == 2
    assert "has 1 checkpoints and says 2" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["seq", "entry_hash", "ts_us", "kid"])
@pytest.mark.parametrize("value", [None, True, [], "5", 5])
def test_a_checkpoint_of_other_types_is_none(name, value):
    said = {"v": 1, "seq": 1, "entry_hash": "0" * 64, "ts_us": 1, "kid": KID}
    if type(value) is type(said[name]):
        return
    with pytest.raises(ValueError, match="type"):
        checkpoints.Note.of(canonical(said | {name: value}), bytes(64))
