"""How many connections one address may have open: nobody alone takes all that the web server can hold."""

from collections import Counter
from ipaddress import IPv6Address, ip_address
from typing import Any

from twisted.protocols.policies import ProtocolWrapper, WrappingFactory

_NETWORK_BITS = 64


class _Counted(ProtocolWrapper):  # type: ignore[misc] # Twisted ships no usable types
    """A connection that is counted until it ends, whatever protocol it speaks by then."""

    owner = ""

    def connectionLost(self, reason: Any) -> None:  # noqa: N802 - Twisted's name
        """Make room for another."""
        self.factory.forget(self.owner)
        super().connectionLost(reason)


class LimitedFactory(WrappingFactory):  # type: ignore[misc] # as above
    """Turns a connection away at once where its address has `most` of them. Wraps the factory that serves the rest."""

    noisy = False
    protocol = _Counted

    def __init__(self, factory: Any, most: int) -> None:
        super().__init__(factory)
        self._most = most
        self._open: Counter[str] = Counter()

    def buildProtocol(self, addr: Any) -> Any:  # noqa: N802 - Twisted's name
        """Build the protocol of one connection; None, which closes it, where there are too many."""
        owner = owner_of(addr.host)
        if self._open[owner] >= self._most:
            return None
        protocol = super().buildProtocol(addr)
        protocol.owner = owner
        self._open[owner] += 1
        return protocol

    def forget(self, owner: str) -> None:
        """Count one connection less."""
        self._open[owner] -= 1
        if self._open[owner] <= 0:
            del self._open[owner]


def owner_of(host: str) -> str:
    """Return what stands for everybody behind an address: itself, or its network where it is an IPv6 address."""
    address = ip_address(host)
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return address.packed[: _NETWORK_BITS // 8].hex()
