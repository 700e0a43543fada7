"""Enrolment: make the key here, exchange the one-time code for a token, pin the hub's identity."""

import base64
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from client_agent.config import Config, Home, already_enrolled
from client_agent.errors import DataError, UntrustedError
from client_agent.http import Http
from client_agent.hub import Enrolled, Hub
from client_agent.route import check_hub_url
from hospintel_core import signing

log = logging.getLogger(__name__)

# Exists on every hub from its first start.
DEFAULT_FEDERATION: Final = "brain-mri"
_FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Enrolment:
    """What was agreed, and the fingerprints that people compare."""

    config: Config
    agent_fingerprint: str
    hub_fingerprint: str


def plain_fingerprint(text: str) -> str:
    """A fingerprint that a person typed or pasted, as 64 small hex digits; ValueError for anything else."""
    plain = re.sub(r"[\s:]", "", text).lower()
    if not _FINGERPRINT.fullmatch(plain):
        message = f"a fingerprint has 64 hex digits (0-9, a-f), this one has {len(plain)} characters"
        raise ValueError(message)
    return plain


def enrol(
    home: Home,
    *,
    hub: str,
    code: str,
    data: Path | None = None,
    ca: Path | None = None,
    federation: str = "",
    hub_fingerprint: str = "",
) -> Enrolment:
    """Enrol this machine as a hospital's agent. Only the public key leaves it.

    With `hub_fingerprint` (as of `plain_fingerprint`) only with the hub that has this identity: asked before the code
    is sent, and again of the answer.

    Raises:
        SetupError: already_enrolled, bad_hub_url, home_busy.
        HubUnreachableError, HubRefusedError: also code_unknown, code_used, code_expired; the key is kept, so that the
            next try enrols the same one.
        UntrustedError: hub_fingerprint, answer_malformed.
    """
    url = check_hub_url(hub)
    if home.config.exists():
        raise already_enrolled(home)
    if data is not None:
        _require_data(data)
    home.create()
    with home.locked():
        key = _own_key(home)
        http = Http(url, ca=ca)
        try:
            if hub_fingerprint:
                _require_hub(Hub(http), hub_fingerprint)
            found = Hub(http).enrol(code, key)
        finally:
            http.close()
        identity = _checked_identity(found, hub_fingerprint)
        config = Config(
            hub=url,
            agent_id=found.agent_id,
            token=found.token,
            hospital=found.hospital,
            federation=_chosen(found, federation),
            hub_identity=base64.b64encode(found.hub_identity).decode("ascii"),
            ca=str(ca.absolute()) if ca else "",
            data=str(data.absolute()) if data else "",
        )
        config.save(home)
    return Enrolment(config, signing.fingerprint(key.public_key()), identity)


def _require_data(data: Path) -> None:
    try:
        data.stat()
    except FileNotFoundError as error:
        hint = "--data is a folder or zip file of class folders"
        raise DataError("data_missing", f"there is no {data}", hint) from error
    except OSError as error:
        hint = "the user who runs the agent must be allowed to read the scans"
        raise DataError("data_missing", f"{data} cannot be read: {error.strerror}", hint) from error


def _own_key(home: Home) -> Ed25519PrivateKey:
    """The key of an enrolment that did not finish, else a new one."""
    if not home.key.exists():
        signing.write_private_key(home.key, Ed25519PrivateKey.generate())
    return signing.read_private_key(home.key, Ed25519PrivateKey)


def _require_hub(hub: Hub, wanted: str) -> None:
    """Keep the code from a hub that says itself that it is another one, as in a mistyped address."""
    chain = hub.identities()
    if chain:
        _require_fingerprint(signing.fingerprint(chain[0].public_key), wanted)


def _require_fingerprint(fingerprint: str, wanted: str) -> None:
    if fingerprint.replace(" ", "") != wanted:
        raise UntrustedError(
            "hub_fingerprint",
            f"the hub that answers has the fingerprint {fingerprint}, not the expected one",
            "ask the hub's administrator for the address and the fingerprint, by telephone or in person",
        )


def _checked_identity(found: Enrolled, wanted: str) -> str:
    fingerprint = signing.fingerprint(signing.ed25519_from_raw(found.hub_identity))
    if fingerprint.replace(" ", "") != found.hub_fingerprint.replace(" ", ""):
        raise UntrustedError("hub_fingerprint", "the hub's identity key does not have the fingerprint that it claims")
    if wanted:
        _require_fingerprint(fingerprint, wanted)
    return fingerprint


def _chosen(found: Enrolled, wanted: str) -> str:
    """The federation to work in. One that the hospital is not part of is no failure: the code is used up by now."""
    chosen = wanted or (found.federations[0] if found.federations else DEFAULT_FEDERATION)
    if chosen not in found.federations:
        known = ", ".join(found.federations) or "none"
        log.warning("the hospital takes part in: %s; ask the hub's administrator to add it to %s", known, chosen)
    return chosen
