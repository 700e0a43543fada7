"""Under which address hospitals reach this hub, and the line that they type to join."""

from ipaddress import ip_address

from django.conf import settings
from django.http import HttpRequest
from django.http.request import split_domain_port

from apps.federation.pipeline import keys
from hospintel_core import signing


def hub_address(request: HttpRequest | None = None) -> str:
    """Return the hub's address for hospitals: the one that a request came to, else as far as the settings tell.

    An administrator at the hub's own machine reaches it by a name that is of no use to others.
    """
    if request is not None and not _is_loopback(request.get_host()):
        return f"{request.scheme}://{request.get_host()}"
    names = [host for host in settings.ALLOWED_HOSTS if host not in settings.LOOPBACK_HOSTS]
    plain = [host for host in names if not host.startswith((".", "*"))]
    host = plain[0] if plain else settings.LOOPBACK_HOSTS[0]
    if settings.BEHIND_PROXY:
        return f"https://{host}"
    return f"{'https' if settings.TLS_CERT else 'http'}://{host}:{settings.PORT}"


def enrol_line(address: str) -> str:
    """Return the command with which a hospital's agent enrols at this address.

    The code is not in it, the agent asks for it: every user of a machine sees its processes. No spaces in the
    fingerprint: the line is pasted into a shell.
    """
    fingerprint = signing.fingerprint(keys.identity_public()).replace(" ", "")
    return f"hospintel-agent enrol --hub {address} --hub-fingerprint {fingerprint} --code -"


def _is_loopback(host: str) -> bool:
    domain = split_domain_port(host)[0]
    try:
        return ip_address(domain.strip("[]")).is_loopback
    except ValueError:
        return domain in settings.LOOPBACK_HOSTS
