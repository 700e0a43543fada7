"""Sealing and opening one update of vgg16-head256 (8.4 MB) and of pixels-head16."""

import time
import uuid

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from benchmarks.measure import Row, interleaved, show
from hospintel_core import architectures, envelope, weights

REPEATS = 15


def run() -> None:
    rsa, agent, round_key = generate_private_key(65537, 3072), Ed25519PrivateKey.generate(), X25519PrivateKey.generate()
    cases = []
    sizes = {}
    for name in ("pixels-head16", "vgg16-head256"):
        architecture = architectures.get(name)
        rng = np.random.default_rng(0)
        delta = {s.name: rng.standard_normal(s.shape).astype(np.float32) for s in architecture.head_schema.tensors}
        payload = weights.dumps(delta)
        fields = envelope.new_header(
            federation_id=uuid.uuid4(),
            agent_id=uuid.uuid4(),
            round_id=uuid.uuid4(),
            base_model=bytes(32),
            schema=architecture.head_schema.digest,
            num_samples=100,
            attempt=1,
            seq=1,
            now_ms=time.time_ns() // 1_000_000,
        )

        def seal(payload: bytes = payload, fields: envelope.HeaderFields = fields) -> bytes:
            return envelope.seal(
                payload, fields, rsa_public=rsa.public_key(), round_public=round_key.public_key(), signing_key=agent
            )

        sealed = seal()

        def verify(sealed: bytes = sealed) -> None:
            envelope.verify(sealed, agent.public_key())

        def open_(sealed: bytes = sealed) -> None:
            envelope.open_envelope(sealed, sender=agent.public_key(), rsa_private=rsa, round_private=round_key)

        def parse(payload: bytes = payload, schema: weights.Schema = architecture.head_schema) -> None:
            weights.loads(payload, schema)

        for verb, case in (("seal", seal), ("verify", verify), ("open", open_), ("parse", parse)):
            cases.append((f"{verb} {name}", case))
            sizes[f"{verb} {name}"] = len(sealed) / 1e6
    rows = [Row(row.name, row.seconds, sizes[row.name], "MB") for row in interleaved(cases, REPEATS)]
    show("One sealed update", rows)
