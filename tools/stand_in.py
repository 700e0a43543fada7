"""An agent that has an update without training: real key, real token, real envelopes; for benchmarks and tests."""

import base64
import time
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_public_key

from hospintel_core import architectures, envelope, signing, weights
from hospintel_core.plan import Manifest
from hospintel_core.report import Report

SAMPLES = 100
MEASURED = Report(((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)), loss_micro=1000)


class StandIn(NamedTuple):
    """An enrolled agent: its id, its token, its private key (raw)."""

    agent_id: UUID
    token: str
    key: bytes


def enrol(hospital: Any, *, actor: str) -> StandIn:
    """Enrol an agent of a hospital by the hub's own pipeline, with a code of its own."""
    # Only where Django is set up; sealing needs none.
    from apps.federation.pipeline import enrol as pipeline  # noqa: PLC0415

    code, _ = pipeline.issue_code(hospital, actor=actor)
    key = Ed25519PrivateKey.generate()
    public = signing.public_raw(key.public_key())
    proof = signing.sign(signing.DOMAIN_ENROL, signing.enrol_proof_message(code, public), key)
    done = pipeline.enrol(code=code, public_key=public, proof=proof, agent_version="0")
    return StandIn(done.agent.pk, done.token, key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()))


def seal(agent: StandIn, manifest: Manifest, architecture: str, *, seq: int = 1, delta: float = 0) -> bytes:
    """Return a sealed update whose delta is this number everywhere."""
    schema = architectures.get(architecture).head_schema
    arrays = {spec.name: np.full(spec.shape, delta, dtype=np.float32) for spec in schema.tensors}
    fields = envelope.new_header(
        federation_id=manifest.federation_id,
        agent_id=agent.agent_id,
        round_id=manifest.round_id,
        base_model=bytes.fromhex(manifest.model),
        schema=bytes.fromhex(manifest.schema),
        num_samples=SAMPLES,
        attempt=1,
        seq=seq,
        now_ms=time.time_ns() // 1_000_000,
    )
    return envelope.seal(
        weights.dumps(arrays, {"report": MEASURED.to_json()}),
        fields,
        rsa_public=load_pem_public_key(manifest.rsa_public_key.encode()),
        round_public=signing.x25519_from_raw(base64.b64decode(manifest.round_public_key)),
        signing_key=Ed25519PrivateKey.from_private_bytes(agent.key),
    )
