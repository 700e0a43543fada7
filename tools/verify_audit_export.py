#!/usr/bin/env python3
"""Verify an export of Hospintel's audit without Hospintel: docs/audit.md is the specification.

    python verify_audit_export.py EXPORT [--checkpoint KEPT ...] [--fingerprint HEX]

Needs Python 3.11 and the package cryptography, and imports nothing else. Exit code 0: everything holds. 1: it does
not, and the first entry that does not is named. 2: a file that cannot be read or is no export.
"""

import argparse
import base64
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

GENESIS = "0" * 64
FINGERPRINT = 64
# What reading a file raises that somebody has made up.
ODD = (KeyError, TypeError, ValueError, AttributeError, RecursionError)
ENTRY_FIELDS = {
    "v", "seq", "prev", "ts_us", "action", "actor", "object", "objects", "outcome", "visibility", "facts"
}  # fmt: skip
CHECKPOINT_FIELDS = {"v", "seq", "entry_hash", "ts_us", "kid"}


class ExportError(Exception):
    """The file is not of its form, so that nothing can be said about the audit."""


class BrokenError(Exception):
    """The audit does not hold: at which entry, and why."""

    def __init__(self, seq: int, reason: str) -> None:
        super().__init__(f"entry {seq}: {reason}")
        self.seq = seq


class Checkpoint(NamedTuple):
    """What somebody signed: the chain had this hash at this entry."""

    seq: int
    entry_hash: str
    kid: str
    body: bytes
    signature: bytes


def canonical(value: object) -> bytes:
    """JSON with sorted keys, no blanks, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def one_reading(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse an object that names something twice: another reader might take the other one."""
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("a name stands twice")
    return dict(pairs)


def parsed(line: str, number: int) -> dict[str, Any]:
    """Return the object in a line."""
    try:
        value = json.loads(line, object_pairs_hook=one_reading)
    except ODD:
        value = None
    if not isinstance(value, dict):
        raise ExportError(f"line {number} is no JSON object")
    return value


def count_of(value: object) -> int:
    """Return a number of lines: JSON knows 3.0, true and "3" too."""
    if type(value) is not int or value < 0:
        raise ExportError(f"{value!r} is no number of lines"[:100])
    return value


def unbase64(text: str) -> bytes:
    """Return the bytes of a text in base64. Raises ValueError for another than the one spelling that they have."""
    data = base64.b64decode(text, validate=True)
    if base64.b64encode(data).decode() != text:
        raise ValueError
    return data


def holds(domain: bytes, message: bytes, signature: bytes, key: Ed25519PublicKey) -> bool:
    """Return whether a signature holds: Ed25519 over domain, 0x00 and SHA-512 of the message."""
    try:
        key.verify(signature, domain + b"\0" + hashlib.sha512(message).digest())
    except InvalidSignature:
        return False
    return True


def digest_of(key: Ed25519PublicKey) -> str:
    """Return SHA-256 over the key's SubjectPublicKeyInfo, in hex: its first 16 digits are the key id."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def identities(links: list[dict[str, str]], pinned: str) -> tuple[dict[str, Ed25519PublicKey], set[str]]:
    """Return the hub's identities by key id: the newest, and each that provably signed the one after it.

    With a pinned fingerprint it must be one of them. It vouches for itself and those that it led to, whose key ids come
    second; not for those before it: anybody can sign a key that is not theirs, and call themselves the one before.
    """
    found: dict[str, Ed25519PublicKey] = {}
    newer: dict[str, str] | None = None
    fingerprints = []
    for link in links:
        try:
            key = Ed25519PublicKey.from_public_bytes(unbase64(link["public_key"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ExportError("an identity of the hub is not of its form") from error
        kid = digest_of(key)[:16]
        if newer is not None:
            signature = unbase64(newer["signature"])
            if newer["signed_by"] != kid or not holds(b"hospintel/identity/v1", newer["pem"].encode(), signature, key):
                break
        pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        if link.get("pem") != pem:
            raise ExportError("an identity of the hub is not of its form")
        found[kid], newer = key, link
        fingerprints.append(digest_of(key))
    if not found:
        raise ExportError("the export names no identity of the hub")
    if pinned and pinned not in fingerprints:
        raise ExportError(f"the hub that exported this is not the one with the fingerprint {pinned}")
    vouched = list(found)[: fingerprints.index(pinned) + 1 if pinned else None]
    return found, set(vouched)


def read_checkpoint(value: dict[str, Any], number: int) -> Checkpoint:
    """Return the checkpoint in a line."""
    try:
        body = value["body"].encode()
        said = json.loads(body)
        signature = unbase64(value["signature"])
        if set(said) != CHECKPOINT_FIELDS or said["v"] != 1 or canonical(said) != body:
            raise ValueError
        if type(said["seq"]) is not int or not isinstance(said["kid"], str) or said["seq"] < 1:
            raise ValueError
        return Checkpoint(said["seq"], said["entry_hash"], said["kid"], body, signature)
    except ODD as error:
        raise ExportError(f"line {number} is no checkpoint") from error


def check_entry(value: dict[str, Any], expected: int, previous: str) -> str:
    """Return the hash of an entry that stands where it must. Raises BrokenError."""
    try:
        # Half of a surrogate pair has no UTF-8: to put another character there would hash what does not stand there.
        body = value["body"].encode()
    except ODD:
        raise BrokenError(expected, "the body is not of its form") from None
    entry_hash = hashlib.sha256(b"\x00" + body).hexdigest()
    if entry_hash != value.get("hash"):
        raise BrokenError(expected, "the body does not have the stored hash")
    try:
        content = json.loads(body)
        # One content has one spelling: no name twice, no 1.0 for 1.
        is_ours = set(content) == ENTRY_FIELDS and type(content["seq"]) is int and canonical(content) == body
    except ODD:
        is_ours = False
    if not is_ours:
        raise BrokenError(expected, "the body is not of its form")
    if content["seq"] != expected:
        raise BrokenError(expected, "the body carries another number")
    if content["prev"] != previous:
        raise BrokenError(expected, "the link to the entry before does not hold")
    return entry_hash


class Export:
    """One pass over an export: hashes of the entries that checkpoints name, and the checkpoints in it."""

    def __init__(self, lines: Iterator[str], pinned: str) -> None:
        self.hashes: dict[int, str] = {0: GENESIS}
        self.checkpoints: list[Checkpoint] = []
        self.count = 0
        self.broken: BrokenError | None = None
        numbered = enumerate(lines, start=1)
        head = parsed(next(numbered, (1, ""))[1], 1)
        if head.get("kind") != "head" or head.get("v") != 1 or not isinstance(head.get("identities"), list):
            raise ExportError("the first line is not the head of an export")
        self.identities, self.vouched = identities(head["identities"], pinned)
        self.promised = count_of(head["entries"])
        self.last = GENESIS
        end: dict[str, Any] | None = None
        for number, line in numbered:
            value = parsed(line, number)
            if end is not None:
                raise ExportError(f"line {number} stands after the end")
            if value.get("kind") == "entry":
                self.add(value)
            elif value.get("kind") == "checkpoint":
                self.checkpoints.append(read_checkpoint(value, number))
            elif value.get("kind") == "end":
                end = value
            else:
                raise ExportError(f"line {number} is of no known kind")
        self.finish(end)

    def add(self, value: dict[str, Any]) -> None:
        """Take the next entry; after the first that does not hold nothing more can be said."""
        if self.broken is not None:
            return
        self.count += 1
        try:
            self.last = check_entry(value, self.count, self.last)
        except BrokenError as broken:
            self.broken = broken
            return
        self.hashes[self.count] = self.last

    def finish(self, end: dict[str, Any] | None) -> None:
        """See that the entries end where the export says."""
        if self.broken is not None:
            return
        if end is None:
            self.broken = BrokenError(self.count + 1, "the export was cut off")
        elif self.count < max(self.promised, count_of(end["entries"])):
            self.broken = BrokenError(self.count + 1, "the entry is missing")
        elif self.count > (said := min(self.promised, end["entries"])):
            self.broken = BrokenError(said + 1, "the entry stands beyond the end of the chain")
        elif self.last != end["entry_hash"]:
            self.broken = BrokenError(max(self.count, 1), "the end of the chain has another hash than the last entry")
        if end is not None and count_of(end["checkpoints"]) != len(self.checkpoints):
            raise ExportError(f"the export has {len(self.checkpoints)} checkpoints and says {end['checkpoints']!r}")

    def check(self, checkpoints: list[Checkpoint]) -> BrokenError | None:
        """Return the first contradiction between the entries and what was signed."""
        good = 0
        for note in sorted(checkpoints, key=lambda note: note.seq):
            key = self.identities.get(note.kid)
            if key is None or not holds(b"hospintel/checkpoint/v1", note.body, note.signature, key):
                return BrokenError(note.seq, "a checkpoint is not signed by this hub")
            if note.seq > self.count and self.broken is None:
                return BrokenError(self.count + 1, f"a checkpoint knows {note.seq}: cut off, or exported before")
            if note.seq in self.hashes and self.hashes[note.seq] != note.entry_hash:
                first = min(good + 1, note.seq)
                return BrokenError(first, f"entries {first} to {note.seq} are not those of a checkpoint")
            good = note.seq
        return None


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Verify an export of Hospintel's audit.")
    parser.add_argument("export", help="what manage.py export_audit wrote")
    parser.add_argument("--checkpoint", action="append", default=[], help="checkpoints that were kept elsewhere")
    parser.add_argument("--fingerprint", default="", help="of the hub, as its agents and administrators know it")
    return parser.parse_args()


def main() -> int:
    """Verify, and say how it went."""
    asked = arguments()
    pinned = "".join(character for character in asked.fingerprint.lower() if character not in " :")
    if pinned and (len(pinned) != FINGERPRINT or set(pinned) - set("0123456789abcdef")):
        print(f"error: a fingerprint has {FINGERPRINT} hex digits, this one has {len(pinned)}", file=sys.stderr)
        return 2
    try:
        kept = []
        for path in asked.checkpoint:
            with Path(path).open(encoding="utf-8") as file:
                kept += [read_checkpoint(parsed(line, n), n) for n, line in enumerate(file, 1) if line.strip()]
        with Path(asked.export).open(encoding="utf-8") as file:
            export = Export(iter(file), pinned)
    except (OSError, UnicodeDecodeError, ExportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ODD as error:
        print(f"error: the export is not of its form: {error!r}"[:200], file=sys.stderr)
        return 2
    found = [broken for broken in (export.broken, export.check([*export.checkpoints, *kept])) if broken is not None]
    if found:
        print(f"The audit does not hold at {min(found, key=lambda broken: broken.seq)}.")
        return 1
    agreeing = [note.kid in export.vouched for note in [*export.checkpoints, *kept]]
    print(f"{export.count} entries hold. {sum(agreeing)} checkpoints agree.")
    if not all(agreeing):
        print(f"{agreeing.count(False)} more prove nothing: they are of identities before that with your fingerprint.")
    for kid, key in export.identities.items():
        compared = pinned and kid in export.vouched
        print(f"signed by {kid}, fingerprint {digest_of(key)}" + ("" if compared else " (compare it)"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
