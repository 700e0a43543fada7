"""What an agent reads: the hub's answers, signed tasks, its own configuration, and what a tester arms."""

import base64
import json
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fuzz_parsers import Parser, own_folder, text_of
from sealed import RSA

from client_agent import http
from client_agent.config import Config, Home, load_config
from client_agent.errors import AgentError
from client_agent.http import Answer
from client_agent.hub import Hub
from client_agent.route import check_hub_url
from client_agent.task import open_task
from hospintel_core import architectures, checkpoint, codecs, failpoints, identity, signing
from hospintel_core.errors import CoreError
from hospintel_core.plan import Manifest, Plan, SignedManifest, sign_manifest

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
RAW = base64.b64encode(signing.public_raw(KEY.public_key())).decode()
NOW_MS = 1_800_000_000_000
ROUND = UUID(int=3)
FOLDER = own_folder()
HOME = Home(FOLDER)
CONFIG = Config("https://hub.example.org", UUID(int=2), "t" * 43, "North Clinic", "brain-mri", RAW)
ARCHITECTURE = architectures.get("pixels-head16")


class Line:
    """Answers every call with the same status, headers and body, as a hub or whoever is in its place."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    def call(self, method: str, path: str, **_: Any) -> Answer:
        http._raise_for_status(self.answer)
        return self.answer


def manifest(kind: Any = "train") -> Manifest:
    pem = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    key = base64.b64encode(signing.public_raw(X25519PrivateKey.from_private_bytes(bytes(range(32))).public_key()))
    codec = codecs.get("float32")
    is_train = kind == "train"
    return Manifest(
        kind=kind,
        federation_id=UUID(int=1),
        federation="brain-mri",
        run_id=UUID(int=4),
        round_id=ROUND,
        round=1,
        model="a" * 64,
        version=1,
        architecture=ARCHITECTURE.name,
        classes=ARCHITECTURE.class_names,
        plan=Plan(),
        codec=codec.name,
        schema=codec.wire_schema(ARCHITECTURE.head_schema).digest.hex(),
        rule="fedavg",
        rsa_public_key=pem if is_train else "",
        round_public_key=key.decode() if is_train else "",
        issued_ms=NOW_MS,
        deadline_ms=None,
        max_bytes=100_000,
        attempts=3,
    )


def note() -> str:
    body = checkpoint.body_of(7, "b" * 64, NOW_MS * 1000, signing.key_id(KEY.public_key()).hex())
    return checkpoint.Note.of(body, signing.sign(signing.DOMAIN_CHECKPOINT, body, KEY)).to_line()


def read_answer(data: bytes) -> None:
    """The first bytes say which call, which status, and how long the header is."""
    if len(data) < 3:
        return
    which, status, length = data[0], (200, 202, 204, 302, 400, 404, 407, 409, 429, 503, 520)[data[1] % 11], data[2]
    header, body = data[3 : 3 + length].decode("latin-1"), data[3 + length :]
    answer = Answer(status, {"retry-after": header, "date": header, "X-Hospintel-Not-Selected": header}, body)
    hub = Hub(Line(answer), "brain-mri")  # type: ignore[arg-type] # all that is asked of it is `call`
    calls = (
        hub.health,
        hub.identities,
        hub.task,
        lambda: hub.update(ROUND),
        lambda: hub.put_part(ROUND, b"x" * 8, "c" * 64, slice(0, 8), 1.0),
        lambda: hub.checkpoint(None),
        hub.current_model,
        lambda: hub.enrol("code", KEY),
        hub.check_token,
        lambda: hub.report(ROUND, "{}", bytes(64)),
        lambda: answer.retry_after,
    )
    found = calls[which % len(calls)]()
    if isinstance(found, SignedManifest):
        open_task(found, CONFIG, NOW_MS)


def read_task(data: bytes) -> None:
    """A manifest that the hub signed, whatever is in it."""
    signature = signing.sign(signing.DOMAIN_MANIFEST, data, KEY)
    open_task(SignedManifest(data, signature, signing.key_id(KEY.public_key())), CONFIG, NOW_MS)


def chain() -> dict[str, list[dict[str, str]]]:
    """The pinned identity and one that it signed, the newest first."""
    newer = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33))).public_key()
    signature = signing.sign(signing.DOMAIN_IDENTITY, identity.pem_of(newer).encode(), KEY)
    second = identity.Link(newer, signing.key_id(KEY.public_key()), signature)
    return {"chain": [second.to_wire(), identity.Link(KEY.public_key(), b"", b"").to_wire()]}


def read_chain(data: bytes) -> None:
    """The hub's identities, and whether they lead from the pinned one to each of them."""
    links = Hub(Line(Answer(200, {}, data))).identities()  # type: ignore[arg-type] # as above
    for link in links:
        found = identity.follow(KEY.public_key(), links, link.kid)
        assert found is None or signing.key_id(found) == link.kid


def read_config(data: bytes) -> None:
    HOME.config.write_bytes(data)
    HOME.config.chmod(0o600)
    load_config(HOME)


def read_orders(data: bytes) -> None:
    spec = {failpoints.VARIABLE: text_of(data), failpoints.FOLDER: str(FOLDER), failpoints.SWITCH: "1"}
    try:
        failpoints.arm(spec)
    finally:
        failpoints._armed = None


def answers() -> list[bytes]:
    status = {"state": "ACCEPTED", "code": "", "detail": "", "received": 5, "attempts_left": 3}
    enrolled = {
        "agent_id": str(UUID(int=2)),
        "token": "t" * 43,
        "hospital": "North Clinic",
        "federations": ["brain-mri"],
        "hub_identity": RAW,
        "hub_fingerprint": signing.fingerprint(KEY.public_key()),
    }
    bodies: list[dict[str, Any]] = [
        {"status": "ok"},
        chain(),
        sign_manifest(manifest(), KEY).to_wire(),
        {**status, "round_state": "COLLECTING", "round_reason": ""},
        {"received": 8},
        {"state": "holds", "newest": note()},
        {"model": "a" * 64, "architecture": "pixels-head16"},
        enrolled,
    ]
    found = [bytes([number, 0, 0]) + json.dumps(body).encode() for number, body in enumerate(bodies)]
    refusal = json.dumps({"code": "round_closed", "detail": "The round is over."}).encode()
    others = f"{UUID(int=5)} 3 {UUID(int=6)}".encode()
    late = b"Wed, 21 Oct 2026 07:28:00 GMT"
    return [
        *found,
        bytes([3, 7, 0]) + refusal,
        bytes([2, 2, len(others)]) + others,
        bytes([10, 9, len(late)]) + late + refusal,
    ]


def config() -> list[bytes]:
    values = {name: getattr(CONFIG, name) for name in ("hub", "token", "hospital", "federation", "hub_identity")}
    return [json.dumps({**values, "agent_id": str(CONFIG.agent_id), "format": 1}).encode()]


FAMILY = {
    "the hub's answers": Parser(read_answer, (AgentError, CoreError), answers),
    "identities": Parser(read_chain, (AgentError, CoreError), lambda: [json.dumps(chain()).encode()]),
    "signed task": Parser(
        read_task, (AgentError, CoreError), lambda: [manifest().to_bytes(), manifest("evaluate").to_bytes()]
    ),
    "configuration": Parser(read_config, (AgentError,), config),
    "address": Parser(
        lambda data: check_hub_url(text_of(data)),
        (AgentError,),
        lambda: [b"https://hub.example.org:8443/", b"http://[::1]:8000"],
    ),
    "failpoints": Parser(
        read_orders, (failpoints.ArmedError,), lambda: [b"aggregate.stored:kill,agent.delta_kept:sleep:2"]
    ),
}
