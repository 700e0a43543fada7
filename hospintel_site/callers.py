"""How and from where a call comes."""

from ipaddress import ip_address

from django.http import HttpRequest
from rest_framework.request import Request

# HTTP lets a caller invent others.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def method_of(request: HttpRequest | Request) -> str:
    """Return the method of a call: one of a fixed set, not a word that a stranger chose."""
    return str(request.method) if request.method in METHODS else "OTHER"


def asks_for_pages(request: HttpRequest) -> bool:
    """Return whether a browser calls, which names pages first: programs take whatever comes, or name JSON."""
    return "text/html" in request.headers.get("Accept", "")


def client_address(request: HttpRequest | Request) -> str:
    """Return the caller's IP address, "" where none is known.

    Behind a proxy it is what X-Real-IP says, which may be anything that a careless proxy passes on.
    """
    try:
        address = ip_address(str(request.META.get("REMOTE_ADDR") or ""))
    except ValueError:
        return ""
    # An IPv6 address may carry a zone, which is free text.
    return str(address).partition("%")[0]
