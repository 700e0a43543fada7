"""A task, believed only after every check: signature, federation, time, architecture, codec, schema, keys."""

import base64
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from client_agent.config import Config
from client_agent.errors import UntrustedError
from hospintel_core import architectures, codecs, signing
from hospintel_core.architectures import Architecture
from hospintel_core.codecs import Codec
from hospintel_core.plan import Manifest, SignedManifest, open_manifest

CLOCK_WINDOW_MS: Final = 15 * 60 * 1000


@dataclass(frozen=True)
class Task:
    """A verified manifest with what it names: nothing in here comes from an unsigned source."""

    manifest: Manifest
    architecture: Architecture
    codec: Codec

    @property
    def name(self) -> str:
        """How log lines call it."""
        what = "round" if self.manifest.kind == "train" else "evaluation after round"
        return f"{what} {self.manifest.round}"

    def past_deadline(self, now_ms: int) -> bool:
        """Whether the hub said that nothing is taken any more by now."""
        return self.manifest.deadline_ms is not None and self.manifest.deadline_ms <= now_ms

    @property
    def rsa_public(self) -> RSAPublicKey:
        """The hub's RSA key of a train task.

        Raises:
            UntrustedError: manifest_keys.
        """
        try:
            key = load_pem_public_key(self.manifest.rsa_public_key.encode())
        except (ValueError, UnsupportedAlgorithm) as error:
            raise UntrustedError("manifest_keys", "the task's RSA key cannot be read") from error
        if not isinstance(key, RSAPublicKey):
            raise UntrustedError("manifest_keys", "the task's RSA key is no RSA key")
        return key

    @property
    def round_public(self) -> X25519PublicKey:
        """The round's X25519 key of a train task."""
        return signing.x25519_from_raw(base64.b64decode(self.manifest.round_public_key))


def open_task(signed: SignedManifest, config: Config, now_ms: int) -> Task:
    """Check everything about a manifest that can be checked without the hub.

    Raises:
        SignatureError, PlanError: not signed by the pinned identity, or not a manifest.
        UntrustedError: manifest_federation, manifest_future, manifest_schema, manifest_keys.
        ArchitectureError, CodecError: this version of the agent does not know what the task names.
    """
    manifest = open_manifest(signed, config.identity)
    if manifest.federation != config.federation:
        raise UntrustedError(
            "manifest_federation",
            f"the task is for {manifest.federation}, this agent takes part in {config.federation}",
        )
    if manifest.issued_ms > now_ms + CLOCK_WINDOW_MS:
        minutes = (manifest.issued_ms - now_ms) // 60_000
        raise UntrustedError(
            "manifest_future",
            f"the task was signed {minutes} minutes in the future",
            "set this machine's clock (NTP); if it is right, tell the hub's administrator that the hub's is not",
        )
    architecture = architectures.get(manifest.architecture)
    codec = codecs.get(manifest.codec)
    same_classes = manifest.classes == architecture.class_names
    if not same_classes or codec.wire_schema(architecture.head_schema).digest.hex() != manifest.schema:
        raise UntrustedError(
            "manifest_schema",
            f"the hub means another {manifest.architecture} with {manifest.codec} than this version of the agent",
            "update the agent to the hub's version",
        )
    task = Task(manifest, architecture, codec)
    if manifest.kind == "train":
        # A broken key would otherwise be found out after the training.
        _ = task.rsa_public, task.round_public
    return task
