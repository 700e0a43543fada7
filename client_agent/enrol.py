"""Enrolment: make the key here, exchange the one-time code for a token, pin the hub's identity."""

import base64
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from client_agent.config import Config, Home, already_enrolled
from client_agent.errors import DataError, UntrustedError
from client_agent.http import Http, check_hub_url
from client_agent.hub import Enrolled, Hub
from hospintel_core import signing

log = logging.getLogger(__name__)

# Exists on every hub from its first start.
DEFAULT_FEDERATION: Final = "brain-mri"


@dataclass(frozen=True)
class Enrolment:
    """What was agreed, and the fingerprints that people compare."""

    config: Config
    agent_fingerprint: str
    hub_fingerprint: str


def enrol(
    home: Home, *, hub: str, code: str, data: Path | None = None, ca: Path | None = None, federation: str = ""
) -> Enrolment:
    """Enrol this machine as a hospital's agent. Only the public key leaves it.

    Raises:
        SetupError: already_enrolled, bad_hub_url, home_busy.
        HubUnreachableError, HubRefusedError: also code_unknown, code_used, code_expired; the key is kept, so that the
            next try enrols the same one.
        UntrustedError: hub_fingerprint, answer_malformed.
    """
    url = check_hub_url(hub)
    if home.config.exists():
        raise already_enrolled(home)
    if data is not None and not data.exists():
        raise DataError("data_missing", f"there is no {data}", "--data is a folder or zip file of class folders")
    home.create()
    with home.locked():
        key = _own_key(home)
        http = Http(url, ca=ca)
        try:
            found = Hub(http).enrol(code, key)
        finally:
            http.close()
        identity = _checked_identity(found)
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


def _own_key(home: Home) -> Ed25519PrivateKey:
    """The key of an enrolment that did not finish, else a new one."""
    if not home.key.exists():
        signing.write_private_key(home.key, Ed25519PrivateKey.generate())
    return signing.read_private_key(home.key, Ed25519PrivateKey)


def _checked_identity(found: Enrolled) -> str:
    fingerprint = signing.fingerprint(signing.ed25519_from_raw(found.hub_identity))
    if fingerprint.replace(" ", "") != found.hub_fingerprint.replace(" ", ""):
        raise UntrustedError("hub_fingerprint", "the hub's identity key does not have the fingerprint that it claims")
    return fingerprint


def _chosen(found: Enrolled, wanted: str) -> str:
    """The federation to work in. One that the hospital is not part of is no failure: the code is used up by now."""
    chosen = wanted or (found.federations[0] if found.federations else DEFAULT_FEDERATION)
    if chosen not in found.federations:
        known = ", ".join(found.federations) or "none"
        log.warning("the hospital takes part in: %s; ask the hub's administrator to add it to %s", known, chosen)
    return chosen
