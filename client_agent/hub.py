"""The hub's REST calls, typed: what goes out is built here and what comes back is checked here."""

import base64
import re
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from client_agent import __version__
from client_agent.errors import HubRefusedError, printable
from client_agent.http import ANSWER_TIMEOUT, API, Answer, Http, malformed
from hospintel_core import signing
from hospintel_core.checkpoint import Note
from hospintel_core.errors import CoreError
from hospintel_core.identity import Link
from hospintel_core.plan import SignedManifest

LONG_POLL: Final = 25

LIVE: Final = frozenset({"RECEIVED", "ACCEPTED", "CONSUMED"})
TAKEN: Final = frozenset({"ACCEPTED", "CONSUMED"})
ROUND_ENDED: Final = frozenset({"PUBLISHED", "HELD", "FAILED"})
# Refusals that mean that the round goes on without this agent, or has ended.
ENDED: Final = frozenset({"round_closed", "round_unknown", "run_aborted", "not_needed", "not_selected"})
FORKED: Final = "audit_forked"
CONTRADICTIONS: Final = frozenset({"audit_behind", FORKED})
NO_ROUND: Final = UUID(int=0)
# In an answer without a task.
OTHERS: Final = "X-Hospintel-Not-Selected"
_UUID: Final = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_OTHER: Final = re.compile(rf"({_UUID}) ([0-9]{{1,9}}) ({_UUID})", re.ASCII)
_HEX: Final = re.compile(r"[0-9a-f]{64}")
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/=-]{16,512}")


@dataclass(frozen=True)
class Enrolled:
    """The hub's answer to an enrolment."""

    agent_id: UUID
    token: str
    hospital: str
    federations: tuple[str, ...]
    hub_identity: bytes
    hub_fingerprint: str


@dataclass(frozen=True)
class OtherRound:
    """A round for which the hub asked other agents: its id, its number, and the id of its run."""

    round_id: UUID
    number: int
    run_id: str


@dataclass(frozen=True)
class Idle:
    """The hub has nothing to do for this agent; ask again after `retry_after` seconds (None: it did not say).

    `others` are the newest rounds that asked other agents, as far as the hub tells; they may be known already.
    """

    retry_after: float | None
    others: tuple[OtherRound, ...] = ()


@dataclass(frozen=True)
class UpdateStatus:
    """What the hub knows of this agent's update to a round."""

    state: str | None
    code: str
    detail: str
    received: int
    attempts_left: int
    round_state: str
    round_reason: str

    @property
    def collecting(self) -> bool:
        """Whether the round still takes updates."""
        return self.round_state == "COLLECTING"

    @property
    def ended(self) -> bool:
        """Whether it is known what has become of the round."""
        return self.round_state in ROUND_ENDED


class Received(NamedTuple):
    """How many bytes of an upload the hub has, and whether it took the whole."""

    offset: int
    complete: bool


class Hub:
    """One federation of one hub, as seen by one agent."""

    def __init__(self, http: Http, federation: str = "") -> None:
        self.http = http
        self._federation = quote(federation, safe="")

    def health(self) -> Answer:
        """The answer of a hub that is up; raises as `Http.call`."""
        answer = self.http.call("GET", "/healthz")
        if answer.json().get("status") != "ok":
            raise malformed("/healthz does not say ok")
        return answer

    def check_token(self, round_id: UUID = NO_ROUND) -> None:
        """Return where the hub takes the token; unlike asking for a task, this begins nothing.

        Asks for this agent's update to a round, which need not exist.

        Raises:
            HubRefusedError: token_invalid, agent_revoked.
        """
        try:
            self.update(round_id)
        except HubRefusedError as error:
            if error.code not in ENDED:
                raise

    def identities(self) -> list[Link]:
        """The hub's identities, newest first; none where the hub is too old to tell. Their signatures are unchecked."""
        try:
            found = self.http.call("GET", f"{API}identity").json().get("chain")
        except HubRefusedError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return []
        if not isinstance(found, list):
            raise malformed("chain is not a list")
        try:
            return [Link.from_wire(entry) for entry in found]
        except CoreError as error:
            raise malformed(error.detail) from error

    def enrol(self, code: str, key: Ed25519PrivateKey) -> Enrolled:
        """Exchange a one-time code for an agent id and a token, proving possession of `key`.

        Raises:
            HubRefusedError: code_unknown, code_used, code_expired, proof_invalid, bad_request.
        """
        raw = signing.public_raw(key.public_key())
        proof = signing.sign(signing.DOMAIN_ENROL, signing.enrol_proof_message(code, raw), key)
        body = {"code": code, "public_key": _b64(raw), "proof": _b64(proof), "agent_version": __version__}
        found = self.http.call("POST", f"{API}agents/enrol", json_body=body).json()
        federations, token = found.get("federations"), _text(found, "token")
        if not isinstance(federations, list) or not all(isinstance(slug, str) for slug in federations):
            raise malformed("federations is not a list of names")
        if not _TOKEN.fullmatch(token):
            raise malformed("the token is not of its form")
        return Enrolled(
            agent_id=_uuid(found, "agent_id"),
            token=token,
            hospital=printable(_text(found, "hospital")),
            federations=tuple(printable(slug) for slug in federations),
            hub_identity=_bytes(found, "hub_identity"),
            hub_fingerprint=_text(found, "hub_fingerprint"),
        )

    def task(self, wait: int = LONG_POLL) -> SignedManifest | Idle:
        """Long poll: a task as soon as there is one, Idle after `wait` seconds without one. Also the heartbeat."""
        answer = self.http.call(
            "GET", f"{API}federations/{self._federation}/task", params={"wait": wait}, timeout=wait + ANSWER_TIMEOUT
        )
        if answer.status == HTTPStatus.NO_CONTENT:
            return Idle(answer.retry_after, _others(answer.headers.get(OTHERS, "")))
        try:
            return SignedManifest.from_wire(answer.json())
        except CoreError as error:
            raise malformed(error.detail) from error

    def model(self, digest: str, target: Path, limit: int) -> None:
        """Download the model with this digest to `target`; see `Http.download`."""
        if not _HEX.fullmatch(digest):
            raise malformed("a model's digest is not 64 hex digits")
        self.http.download(f"{API}models/{digest}", target, digest=digest, limit=limit)

    def put_part(self, round_id: UUID, sealed: bytes, digest: str, part: slice, timeout: float) -> Received:
        """Upload a part of `sealed` (SHA-256 `digest`); an empty one at its end completes it.

        `timeout` (seconds) is the longest silence.

        Raises:
            HubRefusedError: offset_mismatch (`body["received"]` says where to go on), update_exists, update_refused,
                round_closed, too_many_attempts, body_too_large.
        """
        headers = {
            "Content-Type": "application/octet-stream",
            "Upload-Length": str(len(sealed)),
            "Upload-Digest": digest,
        }
        answer = self.http.call(
            "PUT",
            f"{API}rounds/{round_id}/update",
            params={"offset": part.start},
            content=sealed[part],
            headers=headers,
            timeout=timeout,
        )
        return Received(_count(answer.json(), "received"), complete=answer.status == HTTPStatus.ACCEPTED)

    def update(self, round_id: UUID, digest: str = "", wait: int = 0) -> UpdateStatus:
        """What became of this agent's update; `received` counts the bytes of the unfinished upload with `digest`.

        Long poll: while the update is being inspected, the hub keeps the answer back for up to `wait` seconds.
        """
        params: dict[str, str | int] = {"wait": wait} if wait else {}
        if digest:
            params["digest"] = digest
        answer = self.http.call("GET", f"{API}rounds/{round_id}/update", params=params, timeout=wait + ANSWER_TIMEOUT)
        found = answer.json()
        state = found.get("state")
        if state is not None and not (isinstance(state, str) and state in LIVE | {"REFUSED"}):
            raise malformed("unknown update state")
        return UpdateStatus(
            state=state,
            code=printable(str(found.get("code") or ""), 60),
            detail=printable(str(found.get("detail") or "")),
            received=_count(found, "received"),
            attempts_left=_count(found, "attempts_left"),
            round_state=_text(found, "round_state"),
            # Hubs of before did not tell it.
            round_reason=printable(str(found.get("round_reason") or ""), 60),
        )

    def report(self, round_id: UUID, body: str, signature: bytes) -> None:
        """Post the signed report of an evaluate task; one that the hub has already is fine.

        Raises:
            HubRefusedError: round_closed, report_refused.
        """
        try:
            self.http.call(
                "POST", f"{API}rounds/{round_id}/report", json_body={"body": body, "signature": _b64(signature)}
            )
        except HubRefusedError as error:
            if error.code != "report_exists":
                raise

    def checkpoint(self, kept: Note | None) -> tuple[str, Note | None]:
        """Whether the audit still says what `kept` says ("holds" or one of CONTRADICTIONS), and the newest checkpoint.

        The newest one's signature is unchecked.

        Raises:
            HubRefusedError: checkpoint_unknown, federation_unknown; not_found where the hub is too old to be asked.
        """
        body = {"kept": kept.to_line() if kept else ""}
        found = self.http.call("POST", f"{API}federations/{self._federation}/checkpoint", json_body=body).json()
        state, newest = _text(found, "state"), found.get("newest")
        if state not in {"holds", *CONTRADICTIONS} or not isinstance(newest, str):
            raise malformed("the answer about a checkpoint is not of its form")
        try:
            return state, Note.from_line(newest) if newest else None
        except ValueError as error:
            raise malformed("the newest checkpoint is none") from error

    def current_model(self) -> tuple[str, str]:
        """Digest and architecture of the version in use, as the public status says. Not signed: only for looking."""
        found = self.http.call("GET", f"{API}federations/{self._federation}/status").json()
        return _text(found, "model"), _text(found, "architecture")


def _others(text: str) -> tuple[OtherRound, ...]:
    found = [_OTHER.fullmatch(part.strip()) for part in text.split(",") if part.strip()]
    if not all(found):
        raise malformed(f"{OTHERS} is not a list of rounds")
    return tuple(OtherRound(UUID(one[1]), int(one[2]), one[3]) for one in found if one)


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _text(found: dict[str, Any], name: str) -> str:
    value = found.get(name)
    if not isinstance(value, str) or not value:
        raise malformed(f"{name} is missing")
    return value


def _uuid(found: dict[str, Any], name: str) -> UUID:
    try:
        return UUID(_text(found, name))
    except ValueError as error:
        raise malformed(f"{name} is not a UUID") from error


def _bytes(found: dict[str, Any], name: str) -> bytes:
    try:
        return base64.b64decode(_text(found, name), validate=True)
    except ValueError as error:
        raise malformed(f"{name} is not base64") from error


def _count(found: dict[str, Any], name: str) -> int:
    value = found.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise malformed(f"{name} is not a count")
    return value
