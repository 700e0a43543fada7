"""Who answers on the way to the hub: the certificate that is shown, believed or not."""

import ssl
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
from cryptography import x509
from cryptography.x509.oid import NameOID

from client_agent.errors import printable
from client_agent.http import CONNECT_TIMEOUT
from client_agent.route import Route


@dataclass(frozen=True)
class Peer:
    """A certificate: whom it names, who issued it, when it is good (UTC)."""

    subject: str
    issuer: str
    not_before: datetime
    not_after: datetime


class _SeenError(Exception):
    """Ends a connection before anything is said on it."""


def shown_certificate(url: str, route: Route) -> Peer | None:
    """The certificate that is shown at `url`, whoever issued it; None where there is none. Nothing is sent there."""
    # Only to say who issued it. What is believed is decided by the connections that carry the token, elsewhere.
    unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE
    try:
        der = _shake_hands(url, route, unverified)
        return _read(x509.load_der_x509_certificate(der)) if der else None
    except (httpx.HTTPError, ValueError):
        return None


def known_to_the_public(url: str, route: Route) -> bool:
    """Whether the certificate comes from a CA that browsers trust, and not from one that only this machine knows."""
    try:
        return bool(_shake_hands(url, route, httpx.create_ssl_context(trust_env=False)))
    except httpx.HTTPError:
        return False


def _shake_hands(url: str, route: Route, context: ssl.SSLContext) -> bytes:
    """The certificate (DER) that is shown to `context`; the connection ends before a request is made."""
    seen: list[bytes] = []

    def on_event(name: str, info: dict[str, Any]) -> None:
        if name.endswith("start_tls.complete"):
            found = info["return_value"].get_extra_info("ssl_object")
            # With a proxy that itself speaks TLS there are two: the hub's is the last.
            seen[:] = [found.getpeercert(True) or b""]  # noqa: FBT003 - takes no keyword
        elif name.endswith("send_request_headers.started") and info["request"].method != b"CONNECT":
            raise _SeenError

    client = httpx.Client(verify=context, proxy=route.for_client(), trust_env=False, timeout=CONNECT_TIMEOUT)
    with client, suppress(_SeenError):
        client.get(url, extensions={"trace": on_event})
    return seen[0] if seen else b""


def _read(certificate: x509.Certificate) -> Peer:
    return Peer(
        subject=_name(certificate.subject),
        issuer=_name(certificate.issuer),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )


def _name(name: x509.Name) -> str:
    """The common name, with the organisation where that says more; made safe for a terminal."""
    parts = [
        str(attributes[0].value)
        for kind in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME)
        if (attributes := name.get_attributes_for_oid(kind))
    ]
    return printable(", ".join(dict.fromkeys(parts)) or name.rfc4514_string(), 120)
