"""Who issued the certificate at the hub's address, and whether somebody on the way has put in his own."""

import time
from typing import Final

from client_agent.doctor.finding import Finding, Patient, failed, ok, skipped, warning
from client_agent.doctor.peer import Peer, known_to_the_public, shown_certificate
from client_agent.errors import AgentError
from client_agent.route import Route

EXPIRES_SOON_S: Final = 14 * 24 * 3600
# The CA that the hub's `make_test_cert` makes.
TEST_ISSUER: Final = "Hospintel test authority"
_NO_TLS: Final = frozenset({"hub_unreachable", "hub_timeout", "proxy_failed", "tls_failed"})


def check_certificate(patient: Patient, route: Route, error: AgentError | None) -> Finding:
    """What there is to say of the certificate, once the hub was asked and answered, or failed with `error`."""
    if patient.url.startswith("http:"):
        return skipped("certificate", "plain http, which is allowed to this machine alone")
    no_tls = error is not None and error.code in _NO_TLS
    peer = None if no_tls else shown_certificate(patient.url, route)
    if peer is None:
        return skipped("certificate", "no TLS connection, see hub")
    if error is not None and error.code == "tls_untrusted":
        return _untrusted(patient, route, error, peer)
    return _trusted(patient, route, peer)


def _trusted(patient: Patient, route: Route, peer: Peer) -> Finding:
    """Say by whom, which is not always the public."""
    named = f"of {peer.subject}, issued by {peer.issuer}, until {peer.not_after:%Y-%m-%d}"
    if peer.not_after.timestamp() - time.time() < EXPIRES_SOON_S:
        remedy = "ask the hub's administrator to renew it (a proxy that inspects TLS: the hospital's IT)"
        return warning("certificate", "certificate_expires", f"{named}: that is soon", remedy, **_facts(peer))
    if patient.trusted_ca is not None:
        return ok("certificate", f"{named}, trusted by {patient.trusted_ca}", **_facts(peer))
    if known_to_the_public(patient.url, route):
        return ok("certificate", f"{named}, trusted by everyone", **_facts(peer))
    return warning(
        "certificate",
        "tls_inspected",
        f"{named}: this machine trusts that, the public does not, so {_somebody(route)} may be reading along",
        "if the hospital's IT confirms that, nothing: who reads along sees the agent's token, which can only read",
        **_facts(peer),
    )


def _untrusted(patient: Patient, route: Route, error: AgentError, peer: Peer) -> Finding:
    """Name who put the certificate there, and the way to trust it."""
    facts = _facts(peer)
    reason = error.detail.rpartition(": ")[2]
    if error.hint and "--ca" not in error.hint:
        good = f"good from {peer.not_before:%Y-%m-%d %H:%M} to {peer.not_after:%Y-%m-%d %H:%M} UTC"
        return failed("certificate", error.code, f"of {peer.subject}, {good}: {reason}", error.hint, **facts)
    if TEST_ISSUER in peer.issuer:
        found = f"the hub has a test certificate, issued by {peer.issuer}, which is not trusted here: {reason}"
        remedy = f"get ca.pem from the hub's administrator, and {_trust(patient, 'ca.pem')}"
        return failed("certificate", error.code, found, remedy, **facts)
    found = f"issued by {peer.issuer}, which is not trusted here ({reason}): {_somebody(route)} inspects TLS"
    remedy = f"ask the hospital's IT for the certificate of {peer.issuer} as a PEM file, and {_trust(patient, 'FILE')}"
    if patient.config is None:
        # An enrolment would have shown that the hub's own certificate is trusted here.
        found += ", or the hub has a CA of its own"
        remedy += "; the CA of a hub comes from its administrator"
    return failed("certificate", error.code, found, remedy, **facts)


def _facts(peer: Peer) -> dict[str, str]:
    return {"subject": peer.subject, "issuer": peer.issuer, "expires": f"{peer.not_after:%Y-%m-%dT%H:%M:%SZ}"}


def _somebody(route: Route) -> str:
    return f"the proxy {route.name}" if route.proxy else "a firewall on the way"


def _trust(patient: Patient, file: str) -> str:
    """How to make the agent trust a CA."""
    if patient.config is None:
        return f"enrol with --ca {file} (doctor --ca {file} tries it)"
    return f"try doctor --ca {file}; if all is well then, write the file's full path as ca into {patient.home.config}"
