"""What an agent is asked to do in a round: typed, validated, and signed by the hub's identity key."""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Literal
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from hospintel_core import signing, strict_json
from hospintel_core.errors import PlanError, SignatureError

MAX_BODY: Final = 64 * 1024
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_SLUG: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9_.-]{0,62}[a-z0-9])?")
_MAX_INT: Final = 2**53 - 1
_RAW_KEY: Final = 32
MOST_EPOCHS: Final = 100


@dataclass(frozen=True)
class Plan:
    """How to train locally. PlanError ``plan_field`` (type) or ``plan_range`` on construction."""

    epochs: int = 5
    batch_size: int = 32
    learning_rate: float = 1e-4
    seed: int = 0
    mirror: bool = True  # each scan is shown as it is or mirrored left to right, by a coin an epoch

    def __post_init__(self) -> None:
        _whole("epochs", self.epochs, 1, MOST_EPOCHS)
        _whole("batch_size", self.batch_size, 1, 1024)
        _whole("seed", self.seed, 0, _MAX_INT)
        if type(self.mirror) is not bool:
            raise PlanError("plan_field", "mirror must be true or false.")
        if type(self.learning_rate) not in {int, float}:
            raise PlanError("plan_field", "learning_rate must be a number.")
        if not 0 < self.learning_rate <= 1:
            raise PlanError("plan_range", "learning_rate must be above 0 and at most 1.")
        object.__setattr__(self, "learning_rate", float(self.learning_rate))

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: object) -> "Plan":
        """Return the plan in JSON types; a missing field has its default. PlanError, also ``plan_unknown_field``."""
        if not isinstance(value, Mapping):
            raise PlanError("plan_field", "A plan must be an object.")
        _known(value, cls)
        return cls(**value)


@dataclass(frozen=True)
class Manifest:
    """One task for the agents of a federation. PlanError on construction if a field is not of its form.

    ``model`` is the SHA-256 (hex) of the head's safetensors file, ``schema`` that of the codec's wire schema.
    ``rsa_public_key`` is PEM, ``round_public_key`` base64 of 32 raw bytes; both are empty in an ``evaluate`` task.
    Times are milliseconds UTC since 1970; ``max_bytes`` bounds the sealed update.
    """

    kind: Literal["train", "evaluate"]
    federation_id: UUID
    federation: str
    run_id: UUID
    round_id: UUID
    round: int
    model: str
    version: int | None
    architecture: str
    classes: tuple[str, ...]
    plan: Plan
    codec: str
    schema: str
    rule: str
    rsa_public_key: str
    round_public_key: str
    issued_ms: int
    deadline_ms: int | None
    max_bytes: int
    attempts: int

    def __post_init__(self) -> None:
        for name in ("federation_id", "run_id", "round_id"):
            _require(name, isinstance(getattr(self, name), UUID))
        _require("plan", isinstance(self.plan, Plan))
        for name, pattern in _PATTERNS.items():
            value = getattr(self, name)
            _require(name, isinstance(value, str) and pattern.fullmatch(value) is not None)
        for name, least in _WHOLE.items():
            value = getattr(self, name)
            if value is not None or name not in {"version", "deadline_ms"}:
                _whole(name, value, least, _MAX_INT)
        self._check_classes()
        self._check_keys()

    def _check_classes(self) -> None:
        known = isinstance(self.classes, tuple) and all(
            isinstance(name, str) and _NAME.fullmatch(name) for name in self.classes
        )
        _require("classes", known and len(set(self.classes)) == len(self.classes))
        if not 2 <= len(self.classes) <= 64:  # noqa: PLR2004
            raise PlanError("plan_range", "classes must be 2 to 64 names.")

    def _check_keys(self) -> None:
        keys = (self.rsa_public_key, self.round_public_key)
        _require("rsa_public_key", all(isinstance(key, str) for key in keys))
        if self.kind == "evaluate":
            _require("rsa_public_key", keys == ("", ""))
            return
        _require("rsa_public_key", self.rsa_public_key.startswith("-----BEGIN PUBLIC KEY-----"))
        _require("round_public_key", len(_unbase64("round_public_key", self.round_public_key)) == _RAW_KEY)

    def to_bytes(self) -> bytes:
        """Canonical JSON in UTF-8: what is signed."""
        value = {item.name: getattr(self, item.name) for item in fields(self)}
        for name in ("federation_id", "run_id", "round_id"):
            value[name] = str(value[name])
        return strict_json.canonical(value | {"plan": self.plan.to_dict()}).encode("utf-8")

    @classmethod
    def from_bytes(cls, data: bytes) -> "Manifest":
        """Return the manifest in ``data``, every field given and no other; PlanError."""
        value = _object(data)
        _known(value, cls)
        _complete(value, cls)
        plan = Plan.from_dict(value["plan"])
        _complete(value["plan"], Plan)
        ids = {name: _uuid(name, value[name]) for name in ("federation_id", "run_id", "round_id")}
        classes = value["classes"]
        _require("classes", isinstance(classes, list))
        return cls(**value | ids | {"plan": plan, "classes": tuple(classes)})


_PATTERNS: Final[Mapping[str, re.Pattern[str]]] = {
    "kind": re.compile("train|evaluate"),
    "federation": _SLUG,
    "model": _SHA256,
    "architecture": _NAME,
    "codec": _NAME,
    "schema": _SHA256,
    "rule": _NAME,
}
_WHOLE: Final[Mapping[str, int]] = {
    "round": 0,
    "version": 0,
    "issued_ms": 0,
    "deadline_ms": 0,
    "max_bytes": 0,
    "attempts": 0,
}


@dataclass(frozen=True)
class SignedManifest:
    """A manifest's exact bytes, the signature over them and the id of the key that made it."""

    body: bytes
    signature: bytes
    kid: bytes

    def to_wire(self) -> dict[str, str]:
        """As JSON types: the manifest as text, the signature in base64, the key id in hex."""
        return {
            "manifest": self.body.decode("utf-8"),
            "signature": base64.b64encode(self.signature).decode("ascii"),
            "kid": self.kid.hex(),
        }

    @classmethod
    def from_wire(cls, value: object) -> "SignedManifest":
        """Undo ``to_wire``; PlanError ``plan_field`` for any other form."""
        keys = dict.fromkeys(("manifest", "signature", "kid"), str)
        if not isinstance(value, Mapping) or value.keys() != keys.keys():
            raise PlanError("plan_field", "A signed manifest holds manifest, signature and kid, and nothing else.")
        _require("manifest", all(isinstance(item, str) for item in value.values()))
        try:
            body, kid = value["manifest"].encode("utf-8"), bytes.fromhex(value["kid"])
        except ValueError as error:
            raise PlanError("plan_field", "manifest or kid is not in its form.") from error
        return cls(body, _unbase64("signature", value["signature"]), kid)


def sign_manifest(manifest: Manifest, key: Ed25519PrivateKey) -> SignedManifest:
    """``manifest`` signed by the hub's identity key under DOMAIN_MANIFEST."""
    body = manifest.to_bytes()
    return SignedManifest(body, signing.sign(signing.DOMAIN_MANIFEST, body, key), signing.key_id(key.public_key()))


def open_manifest(signed: SignedManifest, identity_public: Ed25519PublicKey) -> Manifest:
    """Return the manifest, if the pinned hub identity signed it; SignatureError, then PlanError."""
    if signed.kid != signing.key_id(identity_public):
        raise SignatureError(
            "signature_key",
            "The task is signed by another key than the hub's pinned identity.",
            "If the hub's identity was replaced, enrol again after comparing fingerprints.",
        )
    signing.verify(signing.DOMAIN_MANIFEST, signed.body, signed.signature, identity_public)
    return Manifest.from_bytes(signed.body)


def _object(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_BODY:
        raise PlanError("plan_json", f"The manifest has more than {MAX_BODY} bytes.")
    try:
        value = strict_json.parse(data.decode("utf-8"))
    except ValueError as error:
        raise PlanError("plan_json", "The manifest is not strict JSON.") from error
    if not isinstance(value, dict):
        raise PlanError("plan_json", "The manifest is not a JSON object.")
    return value


def _require(name: str, condition: bool) -> None:  # noqa: FBT001
    if not condition:
        raise PlanError("plan_field", f"{name} is not of its form.")


def _whole(name: str, value: object, least: int, most: int) -> None:
    if type(value) is not int:
        raise PlanError("plan_field", f"{name} must be a whole number.")
    if not least <= value <= most:
        raise PlanError("plan_range", f"{name} must be from {least} to {most}.")


def _known(value: Mapping[Any, Any], cls: type[Plan] | type[Manifest]) -> None:
    unknown = value.keys() - {item.name for item in fields(cls)}
    if unknown:
        raise PlanError("plan_unknown_field", f"Unknown field {min(map(str, unknown))!r}.")


def _complete(value: Mapping[Any, Any], cls: type[Plan] | type[Manifest]) -> None:
    missing = {item.name for item in fields(cls)} - value.keys()
    if missing:
        raise PlanError("plan_field", f"{min(missing)} is missing.")


def _uuid(name: str, value: object) -> UUID:
    # UUID() also reads braces and URNs; the canonical form has one spelling.
    try:
        found = UUID(value) if isinstance(value, str) else None
    except ValueError:
        found = None
    if found is None or str(found) != value:
        raise PlanError("plan_field", f"{name} is not a UUID.")
    return found


def _unbase64(name: str, value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise PlanError("plan_field", f"{name} is not base64.") from error
