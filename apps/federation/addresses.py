"""Under which address hospitals reach this hub, and the line that they type to join."""

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest
from django.http.request import split_domain_port

from apps.federation.pipeline import keys
from hospintel_core import signing
from hospintel_site.certificates import own_authority
from hospintel_site.running import running


@dataclass(frozen=True)
class Way:
    """How hospitals reach this hub: its address, and the file of the CA that they need for it, if it is its own."""

    address: str
    ca: str = ""

    @property
    def only_here(self) -> bool:
        """Whether it leads nowhere from other machines."""
        return _is_loopback(urlsplit(self.address).netloc)


def way_in(request: HttpRequest | None = None) -> Way:
    """Return how hospitals reach this hub: as a request came, else as the running hub says, else as settings tell.

    An administrator at the hub's own machine reaches it by a name that is of no use to others. A command in another
    shell has not the settings with which the hub was started.
    """
    told = running(settings.VAR)
    known = Way(told.address, told.ca) if told is not None else way_by_settings()
    if request is not None and not _is_loopback(request.get_host()):
        return Way(f"{request.scheme}://{request.get_host()}", known.ca)
    return known


def way_by_settings() -> Way:
    """Return how hospitals reach a hub with these settings."""
    names = [host for host in settings.ALLOWED_HOSTS if host not in settings.LOOPBACK_HOSTS]
    plain = [host for host in names if not host.startswith((".", "*"))]
    host = plain[0] if plain else settings.LOOPBACK_HOSTS[0]
    if settings.BEHIND_PROXY:
        return Way(f"https://{host}")
    if settings.TLS_CERT is None:
        return Way(f"http://{host}:{settings.PORT}")
    return Way(f"https://{host}:{settings.PORT}", str(own_authority(settings.TLS_CERT) or ""))


def enrol_line(way: Way) -> str:
    """Return the command with which a hospital's agent enrols.

    The code is not in it, the agent asks for it: every user of a machine sees its processes. No spaces in the
    fingerprint: the line is pasted into a shell.
    """
    fingerprint = signing.fingerprint(keys.identity_public()).replace(" ", "")
    ca = f" --ca {Path(way.ca).name}" if way.ca else ""
    return f"hospintel-agent enrol --hub {way.address} --hub-fingerprint {fingerprint} --code -{ca}"


def _is_loopback(host: str) -> bool:
    domain = split_domain_port(host)[0]
    try:
        return ip_address(domain.strip("[]")).is_loopback
    except ValueError:
        return domain in settings.LOOPBACK_HOSTS
