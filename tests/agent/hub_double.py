"""A small hub at the other end of a real socket: it speaks the agents' REST contract and does the real cryptography.

It simulates the peer, faults of the network included; nothing inside the agent is replaced. `HubDouble.hold` stops a
request in mid-air until the test lets it go, so that a test can kill the agent at exactly that point.
"""

import base64
import hashlib
import json
import secrets
import ssl
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hub_http import Fault, Handler, RefusedError, Seen, Server

from hospintel_core import architectures, codecs, envelope, signing, weights
from hospintel_core.checkpoint import Note, body_of
from hospintel_core.errors import CoreError
from hospintel_core.identity import Link, pem_of
from hospintel_core.plan import Manifest, Plan, SignedManifest, sign_manifest
from hospintel_core.report import Report

CLOCK_WINDOW_MS = 15 * 60 * 1000
PART = 4 * 1024 * 1024
ATTEMPTS = 6
HOLD_LIMIT = 20.0
LIVE = {"RECEIVED", "ACCEPTED"}


@lru_cache
def rsa_key() -> RSAPrivateKey:
    """One RSA key a test process: making one takes most of a second."""
    return generate_private_key(public_exponent=65537, key_size=3072)


@dataclass
class Update:
    """A complete upload."""

    digest: str
    sealed: bytes
    header: envelope.Header
    state: str = "RECEIVED"
    code: str = ""
    delta: weights.Arrays = field(default_factory=dict)
    report: Report | None = None


@dataclass
class Round:
    """One task on offer."""

    manifest: Manifest
    signed: SignedManifest
    key: X25519PrivateKey
    state: str = "COLLECTING"
    reason: str = ""
    parts: dict[str, bytearray] = field(default_factory=dict)
    updates: list[Update] = field(default_factory=list)
    reports: list[dict[str, Any]] = field(default_factory=list)

    @property
    def live(self) -> bool:
        return any(update.state in LIVE for update in self.updates)


class Hold:
    """A request that waits in mid-air."""

    def __init__(self) -> None:
        self.arrived = threading.Event()
        self.go = threading.Event()


class HubDouble:
    """The hub. All state is guarded by `changed`."""

    def __init__(self, *, architecture: str = "pixels-head16", tls: tuple[Path, Path] | None = None) -> None:
        self.architecture = architectures.get(architecture)
        self.codec = codecs.get("float32")
        self.schema = self.codec.wire_schema(self.architecture.head_schema)
        self.identity = Ed25519PrivateKey.generate()
        self.chain = [Link(self.identity.public_key(), b"", b"")]
        self.federation_id, self.run_id = uuid.uuid4(), uuid.uuid4()
        self.changed = threading.Condition()
        self.codes = {"one-time-code"}
        self.agents: dict[str, tuple[uuid.UUID, bytes]] = {}
        self.revoked: set[str] = set()
        self.rounds: list[Round] = []
        self.models: dict[str, bytes] = {}
        self.seen: list[Seen] = []
        self.faults: list[tuple[str, str, Fault]] = []
        self.verdicts: list[str] = []
        self.undecided = False
        self.notes: list[Note] = []
        self.long_poll: float | None = None
        self.now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
        self.current = self.add_model(architectures.initial_head(self.architecture, seed=7))
        self._tls = tls
        self._server: Server | None = None
        self.port = 0

    # -- running -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Listen; after `stop` on the same port again."""
        self._server = Server(("127.0.0.1", self.port), Handler)
        self._server.hub = self
        if self._tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self._tls)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def stop(self) -> None:
        """Vanish from the network."""
        if self._server is None:
            return
        with self.changed:
            server, self._server = self._server, None
            # Ends the long polls.
            self.changed.notify_all()
        server.shutdown()
        self._thread.join()
        server.cut_all()
        server.server_close()

    @property
    def running(self) -> bool:
        return self._server is not None

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    # -- what tests arrange ------------------------------------------------------------------------------------------

    def add_model(self, head: weights.Arrays) -> str:
        """Store a head; returns its digest."""
        data = weights.dumps(head)
        self.models[weights.digest(data)] = data
        return weights.digest(data)

    def open_round(self, number: int = 1, kind: str = "train", **changes: Any) -> Round:
        """Offer a task; `changes` replace fields of the manifest."""
        key = X25519PrivateKey.generate()
        train = kind == "train"
        pem = rsa_key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        fields: dict[str, Any] = {
            "kind": kind,
            "federation_id": self.federation_id,
            "federation": "brain-mri",
            "run_id": self.run_id,
            "round_id": uuid.uuid4(),
            "round": number,
            "model": self.current,
            "version": number,
            "architecture": self.architecture.name,
            "classes": self.architecture.class_names,
            "plan": Plan(epochs=2, learning_rate=0.01),
            "codec": "float32",
            "schema": self.schema.digest.hex(),
            "rule": "fedavg",
            "rsa_public_key": pem if train else "",
            "round_public_key": _b64(signing.public_raw(key.public_key())) if train else "",
            "issued_ms": self.now_ms(),
            "deadline_ms": None,
            "max_bytes": envelope.sealed_size(self.schema.max_payload) + 65536,
            "attempts": ATTEMPTS,
        }
        manifest = Manifest(**fields | changes)
        round_ = Round(manifest, sign_manifest(manifest, self.identity), key)
        with self.changed:
            self.rounds.append(round_)
            self.changed.notify_all()
        return round_

    def rotate_identity(self, signer: Ed25519PrivateKey | None = None) -> None:
        """Replace the identity; the new one is signed by the old, or by `signer`."""
        old, self.identity = self.identity, Ed25519PrivateKey.generate()
        public = self.identity.public_key()
        signature = signing.sign(signing.DOMAIN_IDENTITY, pem_of(public).encode(), signer or old)
        self.chain.insert(0, Link(public, signing.key_id(old.public_key()), signature))

    def close(self, round_: Round, state: str = "FAILED", reason: str = "") -> None:
        """End a round."""
        with self.changed:
            round_.state, round_.reason = state, reason
            self.changed.notify_all()

    def inject(self, method: str, part_of_path: str, *faults: Fault) -> None:
        """Let the next requests that match fail, one fault each."""
        self.faults += [(method, part_of_path, fault) for fault in faults]

    def hold(self, method: str, part_of_path: str, *, after: bool = False) -> Hold:
        """Stop the next matching request in mid-air: before it has an effect, or `after`, before its answer."""
        hold = Hold()

        def wait(handler: "Handler") -> bool:
            if after:
                answer = handler.find_answer()
            hold.arrived.set()
            hold.go.wait(HOLD_LIMIT)
            if not after:
                return False
            handler.send(*answer)
            return True

        self.inject(method, part_of_path, wait)
        return hold

    def wait_for(self, condition: Callable[[], bool], timeout: float = 20.0) -> None:
        """Wait until something has happened here."""
        with self.changed:
            assert self.changed.wait_for(condition, timeout), "the hub double waited in vain"

    def count(self, method: str, part_of_path: str) -> int:
        """How many such requests arrived."""
        return sum(seen.method == method and part_of_path in seen.path for seen in self.seen)

    # -- the calls ---------------------------------------------------------------------------------------------------

    def enrol(self, body: dict[str, str]) -> dict[str, Any]:
        if body["code"] not in self.codes:
            raise RefusedError(403, "code_unknown", "This enrolment code is not known here.")
        raw = base64.b64decode(body["public_key"])
        proof = base64.b64decode(body["proof"])
        message = signing.enrol_proof_message(body["code"], raw)
        signing.verify(signing.DOMAIN_ENROL, message, proof, signing.ed25519_from_raw(raw))
        self.codes.remove(body["code"])
        token, agent_id = secrets.token_urlsafe(32), uuid.uuid4()
        self.agents[token] = (agent_id, raw)
        public = self.identity.public_key()
        return {
            "agent_id": str(agent_id),
            "token": token,
            "hospital": "North Clinic",
            "federations": ["brain-mri"],
            "hub_identity": _b64(signing.public_raw(public)),
            "hub_fingerprint": signing.fingerprint(public),
        }

    def task(self, wait: float) -> SignedManifest | None:
        with self.changed:
            self.changed.wait_for(
                lambda: self._offered() is not None or self._server is None,
                wait if self.long_poll is None else self.long_poll,
            )
            return self._offered()

    def _offered(self) -> SignedManifest | None:
        for round_ in self.rounds:
            if round_.manifest.kind == "evaluate":
                open_ = round_.state == "COLLECTING" and not round_.reports
            else:
                open_ = round_.state == "COLLECTING" and not round_.live and len(round_.updates) < ATTEMPTS
            if open_:
                return round_.signed
        return None

    def find(self, round_id: str) -> Round:
        for round_ in self.rounds:
            if str(round_.manifest.round_id) == round_id:
                return round_
        raise RefusedError(404, "round_unknown", "There is no such round.")

    def put(
        self, round_: Round, key: bytes, headers: dict[str, str], offset: int, body: bytes
    ) -> tuple[int, dict[str, Any]]:
        digest, length = headers["upload-digest"], int(headers["upload-length"])
        known = next((update for update in round_.updates if update.digest == digest), None)
        if known is not None:
            return 202, {"state": known.state, "received": len(known.sealed)}
        if round_.state != "COLLECTING":
            raise RefusedError(409, "round_closed", "This round no longer takes updates.")
        if round_.live:
            raise RefusedError(409, "update_exists", "This round has an update of this agent already.")
        part = round_.parts.setdefault(digest, bytearray())
        if offset != len(part):
            raise RefusedError(409, "offset_mismatch", f"{len(part)} bytes are here.", received=len(part))
        if len(body) > PART:
            raise RefusedError(413, "body_too_large")
        part += body
        if len(part) < length:
            return 200, {"received": len(part)}
        return 202, self._complete(round_, bytes(round_.parts.pop(digest)), digest, key)

    def _complete(self, round_: Round, sealed: bytes, digest: str, key: bytes) -> dict[str, Any]:
        if hashlib.sha256(sealed).hexdigest() != digest:
            raise RefusedError(422, "digest_mismatch", "The bytes that arrived are not those that were announced.")
        try:
            header = envelope.verify(sealed, signing.ed25519_from_raw(key))
        except CoreError as error:
            raise RefusedError(422, "update_refused", "The update was refused.") from error
        update = Update(digest, sealed, header)
        round_.updates.append(update)
        if abs(self.now_ms() - header.issued_ms) > CLOCK_WINDOW_MS:
            update.state, update.code = "REFUSED", "clock_skew"
            raise RefusedError(422, "clock_skew", "The update was sealed more than 15 minutes from the hub's time.")
        if not self.undecided:
            self.decide(round_, update, key)
        self.changed.notify_all()
        return {"state": update.state, "received": len(sealed)}

    def decide(self, round_: Round, update: Update, key: bytes) -> None:
        """The worker's part: open, validate, accept; or refuse with the next arranged verdict."""
        try:
            header, payload = envelope.open_envelope(
                update.sealed,
                sender=signing.ed25519_from_raw(key),
                rsa_private=rsa_key(),
                round_private=round_.key,
            )
            wire, metadata = weights.loads(payload, self.schema)
            assert header.base_model.hex() == round_.manifest.model
            assert header.schema == self.schema.digest
            update.delta = self.codec.decode(wire, self.architecture.head_schema)
            update.report = Report.from_json(metadata["report"], self.architecture.classes, 100_000)
        except CoreError as error:
            update.state, update.code = "REFUSED", error.code
            return
        update.code = self.verdicts.pop(0) if self.verdicts else ""
        update.state = "REFUSED" if update.code else "ACCEPTED"

    def update_status(self, round_: Round, digest: str) -> dict[str, Any]:
        own = [update for update in round_.updates if not digest or update.digest == digest]
        newest = own[-1] if own else None
        received = len(newest.sealed) if newest else len(round_.parts.get(digest, b""))
        return {
            "state": newest.state if newest else None,
            "code": newest.code if newest else "",
            "detail": "The update was refused." if newest and newest.code else "",
            "received": received,
            "attempts_left": ATTEMPTS - len(round_.updates),
            "round_state": round_.state,
            "round_reason": round_.reason,
        }

    def sign_checkpoint(self, seq: int, entry_hash: str = "ab" * 32) -> Note:
        """Sign where the audit stands; a hub that has signed none is one that does not know the call."""
        kid = signing.key_id(self.identity.public_key()).hex()
        body = body_of(seq, entry_hash, self.now_ms() * 1000, kid)
        self.notes.append(Note.of(body, signing.sign(signing.DOMAIN_CHECKPOINT, body, self.identity)))
        return self.notes[-1]

    def witnessed(self, line: str) -> tuple[int, dict[str, str]]:
        if not self.notes:
            raise RefusedError(404, "not_found", "Not found.")
        kept, newest = Note.from_line(line) if line else None, self.notes[-1]
        state = "holds" if kept is None or kept in self.notes else "audit_forked"
        if kept is not None and kept.seq > newest.seq:
            state = "audit_behind"
        return 200, {"state": state, "newest": newest.to_line()}

    def report(self, round_: Round, agent: tuple[uuid.UUID, bytes], body: dict[str, str]) -> dict[str, str]:
        if round_.state != "COLLECTING":
            raise RefusedError(409, "round_closed", "This evaluation has ended.")
        if round_.reports:
            raise RefusedError(409, "report_exists")
        text = body["body"].encode()
        signature = base64.b64decode(body["signature"])
        signing.verify(signing.DOMAIN_REPORT, text, signature, signing.ed25519_from_raw(agent[1]))
        found = json.loads(text)
        assert found["agent"] == str(agent[0])
        assert found["federation"] == str(self.federation_id)
        assert found["model"] == round_.manifest.model
        assert found["round"] == str(round_.manifest.round_id)
        Report.from_json(json.dumps(found["report"]), self.architecture.classes, 100_000)
        round_.reports.append(found)
        self.changed.notify_all()
        return {"state": "recorded"}


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
