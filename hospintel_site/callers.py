"""Where a call comes from."""

from ipaddress import ip_address

from django.http import HttpRequest
from rest_framework.request import Request


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
