"""A hospital's agent as the hub sees it: real key, real token, real envelopes. Only the training is made up."""

import base64
import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from hub_client import HubClient

from apps.federation.models import Agent
from hospintel_core import architectures, envelope, signing, strict_json, weights
from hospintel_core.plan import Manifest, SignedManifest, open_manifest
from hospintel_core.report import Report

ARCHITECTURE = architectures.get("pixels-head16")
SCHEMA = ARCHITECTURE.head_schema
SLUG = "brain-mri"


def delta(seed: int = 0, scale: float = 0.01) -> weights.Arrays:
    """A head's change, as training would give it: small and of the right shapes."""
    rng = np.random.default_rng(seed)
    return {spec.name: (scale * rng.standard_normal(spec.shape)).astype(np.float32) for spec in SCHEMA.tensors}


def report(correct: int = 8, n: int = 10, train_ms: int = 0) -> Report:
    """What an agent measured: `correct` of `n` scans, the wrong ones all taken for the second class."""
    rows = [[0] * 4 for _ in range(4)]
    rows[0][0], rows[0][1] = correct, n - correct
    return Report(tuple(map(tuple, rows)), loss_micro=n * 500_000, train_ms=train_ms)


def payload(arrays: Mapping[str, Any] | None = None, metadata: Mapping[str, str] | None = None) -> bytes:
    """The safetensors file of an update."""
    return weights.dumps(
        delta() if arrays is None else arrays, {"report": report().to_json()} if metadata is None else metadata
    )


def now_ms() -> int:
    return int(time.time() * 1000)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@dataclass(frozen=True)
class Credentials:
    """What an agent has after its enrolment: its id, its token, its key, and the hub's pinned identity."""

    agent_id: str
    token: str
    key: Ed25519PrivateKey
    identity: Ed25519PublicKey


@dataclass
class SiteAgent:
    """An enrolled agent, and what it can do to the hub: all it was made for, and a lot that it was not."""

    credentials: Credentials
    client: HubClient = field(default_factory=HubClient)
    seqs: Any = field(default_factory=lambda: itertools.count(1))

    @property
    def row(self) -> Agent:
        """The hub's row of this agent, as it is now."""
        return Agent.objects.select_related("hospital").get(pk=self.credentials.agent_id)

    @property
    def key(self) -> Ed25519PrivateKey:
        """The key that writes."""
        return self.credentials.key

    @property
    def token(self) -> str:
        """The token that reads."""
        return self.credentials.token

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}", "X-Hospintel-Version": "0.1.0"}

    def poll(self, slug: str = SLUG) -> Any:
        """Ask for a task without waiting."""
        return self.client.get(f"/api/v1/federations/{slug}/task", headers=self.headers)

    def task(self) -> Manifest | None:
        """The task the hub has for this agent, its signature checked against the pinned identity."""
        answer = self.poll()
        if answer.status_code == 204:
            return None
        assert answer.status_code == 200, answer.content
        return open_manifest(SignedManifest.from_wire(answer.json()), self.credentials.identity)

    def seal(self, manifest: Manifest, content: bytes | None = None, **changes: Any) -> bytes:
        """Seal a payload for a task; `changes` replace what an honest agent would state in the header."""
        keys = {
            "rsa_public": load_pem_public_key(manifest.rsa_public_key.encode()),
            "round_public": signing.x25519_from_raw(base64.b64decode(manifest.round_public_key)),
            "signing_key": self.key,
        }
        keys |= {name: changes.pop(name) for name in list(changes) if name in keys}
        fields = {
            "federation_id": manifest.federation_id,
            "agent_id": UUID(self.credentials.agent_id),
            "round_id": manifest.round_id,
            "base_model": bytes.fromhex(manifest.model),
            "schema": bytes.fromhex(manifest.schema),
            "num_samples": 100,
            "attempt": 1,
            "seq": next(self.seqs),
            "now_ms": now_ms(),
        }
        return envelope.seal(payload() if content is None else content, envelope.new_header(**fields | changes), **keys)

    def resign(self, sealed: bytes) -> bytes:
        """The same bytes under a valid signature of this agent."""
        body = sealed[: -signing.SIGNATURE_LENGTH]
        return body + signing.sign(signing.DOMAIN_UPDATE, body, self.key)

    def put(
        self,
        round_id: UUID,
        part: bytes,
        *,
        offset: int | str = 0,
        length: int | str | None = None,
        digest: str | None = None,
        **headers: str,
    ) -> Any:
        """Upload a part; the whole of what it belongs to where nothing else is said."""
        return self.client.put_bytes(
            f"/api/v1/rounds/{round_id}/update?offset={offset}",
            part,
            headers={
                **self.headers,
                "Upload-Length": str(len(part) if length is None else length),
                "Upload-Digest": weights.digest(part) if digest is None else digest,
                **headers,
            },
        )

    def post(self, sealed: bytes) -> Any:
        """Upload in one multipart body."""
        return self.client.post_file("/update", sealed, headers=self.headers)

    def status(self, round_id: UUID, digest: str = "") -> dict[str, Any]:
        """What the hub says became of this agent's update."""
        query = f"?digest={digest}" if digest else ""
        answer = self.client.get(f"/api/v1/rounds/{round_id}/update{query}", headers=self.headers)
        assert answer.status_code == 200, answer.content
        found: dict[str, Any] = answer.json()
        return found

    def take_part(self, *, seed: int = 0, measured: Report | None = None, num_samples: int = 100) -> bytes:
        """Ask for the round's task and upload an honest update. Returns the sealed bytes."""
        manifest = self.task()
        assert manifest is not None
        assert manifest.kind == "train"
        content = payload(delta(seed), {"report": (measured or report()).to_json()})
        sealed = self.seal(manifest, content, num_samples=num_samples)
        answer = self.put(manifest.round_id, sealed)
        assert answer.status_code == 202, answer.content
        return sealed

    def report_body(self, manifest: Manifest, measured: Report, **changes: Any) -> bytes:
        """The canonical JSON of a report on an `evaluate` task."""
        body = {
            "agent": self.credentials.agent_id,
            "federation": str(manifest.federation_id),
            "issued_ms": now_ms(),
            "model": manifest.model,
            "report": measured.to_dict(),
            "round": str(manifest.round_id),
        }
        return strict_json.canonical(body | changes).encode()

    def send_report(self, round_id: UUID, body: bytes, signature: bytes | None = None) -> Any:
        """Post a report, signed by this agent where no other signature is given."""
        signed = signing.sign(signing.DOMAIN_REPORT, body, self.key) if signature is None else signature
        return self.client.post_json(
            f"/api/v1/rounds/{round_id}/report",
            {"body": body.decode(), "signature": b64(signed)},
            headers=self.headers,
        )

    def evaluate(self, measured: Report) -> Any:
        """Ask for an `evaluate` task and answer it honestly."""
        manifest = self.task()
        assert manifest is not None
        assert manifest.kind == "evaluate"
        return self.send_report(manifest.round_id, self.report_body(manifest, measured))

    def with_token(self, token: str) -> "SiteAgent":
        """The same agent with somebody else's token."""
        return replace(self, credentials=replace(self.credentials, token=token))
