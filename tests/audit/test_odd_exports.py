"""Files that somebody made up: the standalone verifier answers each, and says of none that it holds."""

import base64
import hashlib
import importlib.util
import json
import random
import sys
from pathlib import Path

import fuzz_mutate
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


def damaged(rng, line):
    """Put something else in one place of a line; its hash may be made to fit."""

    def by_hand(copy, place):
        text = copy[place]
        if not isinstance(text, str) or not text:
            return False
        if place != "body":
            at = rng.randrange(len(text))
            copy[place] = text[:at] + rng.choice('0aZ{\\"') + text[at + 1 :]
            return True
        body = fuzz_mutate.odd(rng, json.loads(text), by_hand)
        copy[place] = json.dumps(body, sort_keys=True, separators=(",", ":")) if rng.random() < 0.9 else "[" * 100_000
        if rng.random() < 0.5 and "hash" in copy:
            copy["hash"] = hashlib.sha256(b"\0" + copy[place].encode()).hexdigest()
        return True

    return fuzz_mutate.odd(rng, line, by_hand)


def test_whatever_a_file_says_it_is_answered_and_does_not_hold(lines, verifier, tmp_path, monkeypatch, capsys):
    rng = random.Random(9)
    path = tmp_path / "audit.jsonl"
    monkeypatch.setattr(sys, "argv", ["verify", str(path)])
    answers = {1: 0, 2: 0}
    for _ in range(TIMES):
        at = rng.randrange(len(lines))
        honest = json.loads(lines[at])
        made_up = damaged(rng, honest)
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


@pytest.fixture
def check(verifier, tmp_path, monkeypatch, capsys):
    """Have the script look at lines; returns its exit code and what it said."""

    def look(lines, *words):
        path = tmp_path / "audit.jsonl"
        path.write_text("".join(lines))
        monkeypatch.setattr(sys, "argv", ["verify", str(path), *words])
        answer, said = verifier(), capsys.readouterr()
        return answer, said.out + said.err

    return look


def test_a_name_that_stands_twice_is_refused_wherever_it_stands(lines, check):
    twice = lines[3].replace('{"body":', '{"body":"what another reader sees","body":', 1)
    assert check([*lines[:3], twice, *lines[4:]]) == (2, "error: line 4 is no JSON object\n")


def test_a_character_that_is_none_is_not_taken_for_the_question_mark_that_was_hashed(check):
    with transaction():
        record("test.done", actor="user:1", obj="x:1", asked="who?")
    lines = list(export.lines([identity.Link(KEY.public_key(), b"", b"").to_wire()]))
    assert check(lines)[0] == 0
    answer, said = check([lines[0], lines[1].replace("who?", "who\\ud800"), *lines[2:]])
    assert (answer, said) == (1, "The audit does not hold at entry 1: the body is not of its form.\n")


def respelled(spell):
    """A chain of one entry whose body is spelled otherwise, hashed as it is."""
    said = {"prev": "0" * 64, "ts_us": 1, "action": "a.b", "actor": "user:1", "object": "", "objects": []}
    said |= {"v": 1, "seq": 1, "outcome": "ok", "visibility": "admin", "facts": {}}
    body = spell(canonical(said).decode())
    digest = hashlib.sha256(b"\0" + body.encode()).hexdigest()
    link = identity.Link(KEY.public_key(), b"", b"").to_wire()
    made = [
        {"kind": "head", "v": 1, "entries": 1, "exported_us": 1, "identities": [link]},
        {"kind": "entry", "body": body, "hash": digest},
        {"kind": "end", "entries": 1, "entry_hash": digest, "checkpoints": 0},
    ]
    return [json.dumps(line) + "\n" for line in made]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"seq":1', '"seq":true'),
        ('"seq":1', '"seq":1.0'),
        ('"seq":1', '"seq":7,"seq":1'),
        ('"actor":"user:1"', '"actor":"user:9","actor":"user:1"'),
        ('"user:1"', '"user\\u003a1"'),
        ('"facts":{}', '"facts":{"number":1e999}'),
    ],
)
def test_a_body_has_one_spelling(check, old, new):
    assert check(respelled(str))[0] == 0
    answer, said = check(respelled(lambda body: body.replace(old, new)))
    assert (answer, said) == (1, "The audit does not hold at entry 1: the body is not of its form.\n")


@pytest.mark.parametrize("number", ["true", "1.0", "1e999", "-1", '"1"', "null"])
@pytest.mark.parametrize("kind", ["head", "end"])
def test_how_many_entries_there_are_is_a_number(check, kind, number):
    lines = respelled(str)
    at = {"head": 0, "end": 2}[kind]
    lines[at] = lines[at].replace('"entries": 1', f'"entries": {number}')
    answer, said = check(lines)
    assert answer == 2, said
    assert "is no number of lines" in said


def test_who_signs_the_hubs_identity_is_not_thereby_the_one_before(lines, check):
    """Anybody can sign the hub's public key, and sign another history as the identity that it replaced."""
    stranger = Ed25519PrivateKey.generate()
    kid = signing.key_id(stranger.public_key())
    signature = signing.sign(signing.DOMAIN_IDENTITY, identity.pem_of(KEY.public_key()).encode(), stranger)
    chain = [identity.Link(KEY.public_key(), kid, signature), identity.Link(stranger.public_key(), b"", b"")]
    head = json.loads(lines[0]) | {"identities": [link.to_wire() for link in chain]}
    body = canonical({"v": 1, "seq": LENGTH, "entry_hash": json.loads(lines[-1])["entry_hash"], "ts_us": 1})
    body = canonical(json.loads(body) | {"kid": kid.hex()})
    note = checkpoints.Note.of(body, signing.sign(signing.DOMAIN_CHECKPOINT, body, stranger))
    end = json.loads(lines[-1]) | {"checkpoints": 1}
    made = [json.dumps(head) + "\n", *lines[1 : LENGTH + 1], note.to_line() + "\n", json.dumps(end) + "\n"]
    answer, said = check(made, "--fingerprint", signing.fingerprint(KEY.public_key()))
    assert answer == 0
    assert f"{LENGTH} entries hold. 0 checkpoints agree.\n1 more prove nothing" in said
    assert said.rstrip().endswith("(compare it)")
    # Who was there before has the older fingerprint: it vouches for what came of it.
    answer, said = check(made, "--fingerprint", signing.fingerprint(stranger.public_key()))
    assert (answer, "1 checkpoints agree" in said, "compare" in said) == (0, True, False)


def test_an_identity_that_the_pinned_one_did_not_sign_is_not_its_successor(lines, check):
    old = Ed25519PrivateKey.generate().public_key()
    chain = [identity.Link(KEY.public_key(), signing.key_id(old), bytes(64)), identity.Link(old, b"", b"")]
    head = json.loads(lines[0]) | {"identities": [link.to_wire() for link in chain]}
    answer, said = check([json.dumps(head) + "\n", *lines[1:]], "--fingerprint", signing.fingerprint(old))
    assert (answer, "is not the one with the fingerprint" in said) == (2, True)


def test_a_signature_has_one_spelling(lines, verifier, tmp_path, monkeypatch, capsys):
    path = tmp_path / "audit.jsonl"
    monkeypatch.setattr(sys, "argv", ["verify", str(path)])
    at = next(number for number, line in enumerate(lines) if '"kind":"checkpoint"' in line)
    note = json.loads(lines[at])
    # The last letter before == carries four bits that no byte has.
    last = note["signature"][-3]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = alphabet[alphabet.index(last) ^ 1]
    spelled = note | {"signature": note["signature"][:-3] + other + "=="}
    assert base64.b64decode(spelled["signature"]) == base64.b64decode(note["signature"])
    path.write_text("".join([*lines[:at], json.dumps(spelled) + "\n", *lines[at + 1 :]]))
    assert verifier() == 2
    assert "is no checkpoint" in capsys.readouterr().err
    with pytest.raises(ValueError, match="no checkpoint"):
        checkpoints.Note.from_line(json.dumps(spelled))
    assert checkpoints.Note.from_line(lines[at])
