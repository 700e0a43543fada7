"""The way to the hub: which addresses are allowed, through which proxy it goes, and whose certificates are trusted."""

import os
import ssl
import urllib.request
from dataclasses import dataclass
from importlib.util import find_spec
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx

from client_agent.errors import HubUnreachableError, SetupError, printable

# In the order in which programs read them; the small spelling wins.
PROXY_VARIABLES: Final = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")

_CA_FILE: Final = "it must be a PEM file (its first line is -----BEGIN CERTIFICATE-----) that this user may read"


@dataclass(frozen=True)
class Route:
    """How the hub is reached: `proxy` is a proxy's address, empty without one; `source` is what says so, if anything.

    `proxy` may hold a password: show `name`.
    """

    proxy: str = ""
    source: str = ""

    @property
    def name(self) -> str:
        """The proxy's address without user name and password."""
        parts = urlsplit(self.proxy)
        return printable(parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl())

    @property
    def has_password(self) -> bool:
        """Whether a user name stands in the proxy's address."""
        return bool(urlsplit(self.proxy).username)

    def for_client(self) -> httpx.Proxy | None:
        """The proxy as httpx wants it."""
        if not self.proxy:
            return None
        return httpx.Proxy(self.proxy, ssl_context=tls_context(None) if self.proxy.startswith("https:") else None)


def check_hub_url(url: str) -> str:
    """The hub's address without a trailing slash; https, or http to this machine itself.

    Raises:
        SetupError: bad_hub_url.
        HubUnreachableError: insecure_hub.
    """
    try:
        parts = urlsplit(url.strip())
        _ = parts.port
    except ValueError as error:
        raise SetupError("bad_hub_url", f"{printable(url)} is not an address: {error}") from error
    plain = not (parts.query or parts.fragment or "@" in parts.netloc)
    if parts.scheme not in {"http", "https"} or not parts.hostname or not plain:
        raise SetupError(
            "bad_hub_url", f"{printable(url)} is not a hub's address", "write it like https://hub.example.org"
        )
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise HubUnreachableError(
            "insecure_hub",
            f"{printable(url)} is plain http; only a hub on this machine itself may be reached without TLS",
            "use the hub's https address; for a test certificate add --ca FILE",
        )
    return url.strip().rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether `host` names this machine itself."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def find_route(url: str) -> Route:
    """How to reach the hub at `url`, a checked address: as the environment says, else the system's own settings.

    HTTPS_PROXY, else ALL_PROXY; past it where NO_PROXY names the host, a domain above it, or its network. HTTP_PROXY is
    for plain http, and a hub on this machine itself is never behind the hospital's proxy.

    Raises:
        SetupError: proxy_unusable.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_loopback(host):
        return Route()
    settings = urllib.request.getproxies()
    proxy = settings.get("https") or settings.get("all") or ""
    if not proxy:
        return Route()
    source = next((name for name in PROXY_VARIABLES if os.environ.get(name) == proxy), "the system's settings")
    if _excepted(host, parts.port or 443, settings.get("no", "")) or urllib.request.proxy_bypass(host):
        excepting = next((name for name in ("no_proxy", "NO_PROXY") if os.environ.get(name)), "the system's settings")
        return Route("", excepting)
    return Route(_usable(proxy if "://" in proxy else f"http://{proxy}", source), source)


def _excepted(host: str, port: int, rules: str) -> bool:
    """Whether NO_PROXY's list names the host: `*`, a name or a domain (with any dots or stars before it), a network."""
    for rule in rules.lower().replace(",", " ").split():
        name, _, number = rule.rpartition(":") if rule.count(":") == 1 else (rule, "", "")
        if number and number != str(port):
            continue
        if name == "*" or _in_network(host, name):
            return True
        domain = name.lstrip("*.")
        if domain and (host == domain or host.endswith(f".{domain}")):
            return True
    return False


def _in_network(host: str, network: str) -> bool:
    try:
        return ip_address(host) in ip_network(network.strip("[]"), strict=False)
    except ValueError:
        return False


def _usable(proxy: str, source: str) -> str:
    """The proxy's address, if it is one that can be used."""
    try:
        scheme = httpx.Proxy(proxy).url.scheme
        _ = urlsplit(proxy).port
    except (ValueError, httpx.InvalidURL) as error:
        # Not the value itself: it may hold a password.
        raise SetupError(
            "proxy_unusable",
            f"{source} does not hold a proxy's address",
            f"write {source} like http://proxy.example.org:3128",
        ) from error
    if scheme.startswith("socks") and find_spec("socksio") is None:
        raise SetupError(
            "proxy_unusable",
            f"{source} names a SOCKS proxy, for which a package is missing",
            "set HTTPS_PROXY to an http proxy, or install the package socksio beside the agent",
        )
    return proxy


def tls_context(ca: Path | None) -> ssl.SSLContext:
    """TLS 1.2 or newer with verification. `ca` (PEM) replaces the machine's own roots.

    Raises:
        SetupError: config_broken where `ca` cannot be read.
    """
    if ca is not None:
        try:
            context = ssl.create_default_context(cafile=ca)
        except (OSError, ssl.SSLError) as error:
            raise SetupError("config_broken", f"the CA file {ca} cannot be read: {error}", _CA_FILE) from error
    elif _has_roots():
        # Not httpx's own list: a hospital puts the CA of its TLS-inspecting proxy into the machine's store.
        context = ssl.create_default_context()
    else:
        context = httpx.create_ssl_context(trust_env=False)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _has_roots() -> bool:
    """Whether the machine (or SSL_CERT_FILE, SSL_CERT_DIR) has certificates; slim containers have none."""
    paths = ssl.get_default_verify_paths()
    return bool(paths.cafile) or (bool(paths.capath) and any(Path(paths.capath).iterdir()))
