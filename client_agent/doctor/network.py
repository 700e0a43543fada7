"""The way to the hub, and whether it is the hub that answers at its end.

The token is shown to nobody before the identity that answers is the pinned one.
"""

import os
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

from client_agent.doctor.certificate import check_certificate
from client_agent.doctor.finding import Finding, Patient, failed, failure, ok, skipped, warning
from client_agent.enrol import DEFAULT_FEDERATION
from client_agent.errors import AgentError, HubRefusedError, HubUnreachableError, UntrustedError, describe
from client_agent.http import Answer, Http
from client_agent.hub import Hub
from client_agent.route import Route, is_loopback
from client_agent.task import CLOCK_WINDOW_MS
from hospintel_core import architectures, identity, signing
from hospintel_core.errors import ArchitectureError

CLOCK_NOTICED_S: Final = 60.0
CLOCK_REFUSED_S: Final = CLOCK_WINDOW_MS / 1000
MINUTE: Final = 60.0
_CLOCK_REMEDY: Final = (
    "set this machine's clock (timedatectl set-ntp true, or the hospital's time server); if it is right, tell the hub's"
    " administrator that the hub's is not"
)
_NOT_THE_HUB: Final = "another program, a proxy or a login page answers there: check the address and the port"


def check_hub(patient: Patient) -> Iterator[Finding]:
    """The path, the certificate, the hub, who it is, both clocks, the token and the federation."""
    after = ("certificate", "hub", "identity", "clock", "token", "federation")
    if not patient.url:
        for check in ("path", *after):
            yield skipped(check, "no hub is known: give its address with --hub")
        return
    try:
        http = Http(patient.url, ca=patient.trusted_ca, stop=patient.stop)
    except AgentError as error:
        yield failure("path", error)
        for check in after:
            yield skipped(check, "see path")
        return
    with closing(http):
        yield ok("path", f"{patient.url} {_way(patient.url, http.route)}")
        heard = yield from _check_answer(patient, http)
        if heard is None:
            for check in after[2:]:
                yield skipped(check, "the hub was not reached")
            return
        known = yield from _check_identity(patient, http)
        yield _clock(*heard)
        yield _token(patient, known=known)
        yield _federation(patient, http)


def _way(url: str, route: Route) -> str:
    """How the hub is reached, in words."""
    if route.proxy:
        return f"through the proxy {route.name} (from {route.source})"
    if route.source:
        return f"directly, past the proxy ({route.source} names the hub)"
    if is_loopback(urlsplit(url).hostname or ""):
        return "directly, on this machine"
    return "directly, no proxy is set"


def _check_answer(patient: Patient, http: Http) -> Generator[Finding, None, tuple[Answer, float] | None]:
    """Whether a hub answers, and with whose certificate; returns the answer and when it came (seconds since 1970)."""
    began = time.monotonic()
    try:
        answer = Hub(http).health()
    except AgentError as error:
        yield check_certificate(patient, http.route, error)
        untrusted = error.code == "tls_untrusted"
        yield skipped("hub", "see certificate") if untrusted else _no_hub(patient, http.route, error)
        return None
    came, spent = time.time(), round((time.monotonic() - began) * 1000)
    yield check_certificate(patient, http.route, None)
    yield ok("hub", f"answers in {spent} ms", milliseconds=spent)
    return answer, came


def _no_hub(patient: Patient, route: Route, error: AgentError) -> Finding:
    """Why no hub answers, and what to do."""
    told = describe(error)
    if isinstance(error, HubRefusedError | UntrustedError) and error.code != "redirect_refused":
        found = f"what answers at {patient.url} is not a Hospintel hub: {told.detail}"
        return failed("hub", told.code, found, _NOT_THE_HUB)
    remedy = told.hint
    if isinstance(error, HubUnreachableError) and not route.proxy:
        remedy += _unused_proxy(patient.url, route)
    return failed(
        "hub", told.code, told.detail, remedy or "try again in some minutes, then ask the hub's administrator"
    )


def _unused_proxy(url: str, route: Route) -> str:
    """A proxy that the environment names although the way to the hub does not lead through it, for the remedy."""
    if route.source:
        return f"; a proxy is set, but {route.source} names the hub"
    if url.startswith("https:") and any(os.environ.get(name) for name in ("http_proxy", "HTTP_PROXY")):
        return "; HTTP_PROXY is set, but the way to the hub is https: set HTTPS_PROXY too"
    return ""


def _check_identity(patient: Patient, http: Http) -> Generator[Finding, None, bool]:
    """Whether the hub is the one of the enrolment; returns whether its token may be shown to it."""
    try:
        chain = Hub(http).identities()
    except AgentError as error:
        yield failure("identity", error)
        return False
    if not chain:
        found = f"what answers at {patient.url} has no hub's identity"
        yield failed("identity", "not_a_hub", found, f"{_NOT_THE_HUB}; or the hub is older than this agent")
        return False
    says = signing.fingerprint(chain[0].public_key)
    if patient.config is None:
        yield ok("identity", f"a Hospintel hub; compare its fingerprint by telephone: {says}", fingerprint=says)
        return False
    pinned = patient.config.identity
    if chain[0].kid == signing.key_id(pinned):
        yield ok("identity", f"the pinned one: {says}", fingerprint=says)
        return True
    if identity.follow(pinned, chain, chain[0].kid) is not None:
        yield ok("identity", f"a new one, signed by the pinned one, so the agent follows: {says}", fingerprint=says)
        return True
    yield failed(
        "identity",
        "hub_fingerprint",
        f"not the hub of the enrolment: its fingerprint is {says}, pinned is {signing.fingerprint(pinned)}",
        "ask the hub's administrator, by telephone or in person; if the hub was set up anew, enrol into a new --home",
    )
    return False


def _clock(answer: Answer, came: float) -> Finding:
    """This machine's clock beside the hub's, as its Date header says (to the second)."""
    try:
        theirs = parsedate_to_datetime(answer.headers.get("date", "")).timestamp()
    except (ValueError, TypeError):
        return skipped("clock", "the hub does not say what time it is")
    off = came - theirs
    side = "ahead of" if off > 0 else "behind"
    if abs(off) < CLOCK_NOTICED_S:
        return ok("clock", "within a minute of the hub's", seconds=round(off))
    found = f"{round(abs(off) / MINUTE)} minutes {side} the hub's"
    if abs(off) < CLOCK_REFUSED_S:
        return warning("clock", "clock_skew", found, _CLOCK_REMEDY, seconds=round(off))
    minutes = round(CLOCK_REFUSED_S / MINUTE)
    found = f"{found}; the hub refuses what is off by more than {minutes}"
    return failed("clock", "clock_skew", found, _CLOCK_REMEDY, seconds=round(off))


def _token(patient: Patient, *, known: bool) -> Finding:
    """Whether the hub still takes this agent."""
    config = patient.config
    if config is None:
        return skipped("token", "the token is given at enrolment")
    if not known:
        return skipped("token", "not shown to a hub that is not the pinned one")
    if patient.url != config.hub:
        return skipped("token", f"shown to {config.hub} alone, where the agent was enrolled")
    http = Http(config.hub, token=config.token, ca=patient.trusted_ca, stop=patient.stop)
    with closing(http):
        try:
            Hub(http).check_token()
        except AgentError as error:
            return failure("token", error)
    return ok("token", "valid")


def _federation(patient: Patient, http: Http) -> Finding:
    """The federation's model, and whether this version of the agent knows it; later checks are for that one."""
    name = patient.config.federation if patient.config else DEFAULT_FEDERATION
    try:
        _, model = Hub(http, name).current_model()
        patient.architecture = architectures.get(model)
    except ArchitectureError as error:
        return failed("federation", error.code, f"{name}: {error.detail}", "update the agent to the hub's version")
    except AgentError as error:
        return failure("federation", error)
    return ok("federation", f"{name}, model {model}", architecture=model)
