"""Which way the environment sends the agent, and what it says of a way that leads nowhere."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import certificates
import pytest
from hub_double import HubDouble

from client_agent.errors import AgentError, SetupError
from client_agent.http import Http, _no_tls
from client_agent.route import Route, find_route

HUB = "https://hub.example.org"
VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, Route()),
        ({"HTTPS_PROXY": "http://proxy:3128"}, Route("http://proxy:3128", "HTTPS_PROXY")),
        ({"https_proxy": "proxy:3128"}, Route("http://proxy:3128", "https_proxy")),
        ({"HTTPS_PROXY": "http://large", "https_proxy": "http://small"}, Route("http://small", "https_proxy")),
        ({"ALL_PROXY": "http://all", "HTTPS_PROXY": "http://proxy"}, Route("http://proxy", "HTTPS_PROXY")),
        ({"ALL_PROXY": "https://all:8443"}, Route("https://all:8443", "ALL_PROXY")),
        # For plain http alone, which no hub but one on this machine speaks.
        ({"HTTP_PROXY": "http://proxy"}, Route()),
        ({"HTTPS_PROXY": ""}, Route()),
        ({"HTTPS_PROXY": "http://proxy", "NO_PROXY": "hub.example.org"}, Route("", "NO_PROXY")),
    ],
)
def test_the_proxy_is_the_one_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: Route
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert find_route(HUB) == expected


@pytest.mark.parametrize(
    ("url", "rules", "direct"),
    [
        (HUB, "*", True),
        (HUB, "other.org, hub.example.org", True),
        (HUB, "HUB.Example.org", True),
        (HUB, "example.org", True),
        (HUB, ".example.org", True),
        (HUB, "*.example.org", True),
        (HUB, "example.org other.org", True),
        (HUB, "hub.example.org:443", True),
        (HUB, "hub.example.org:8443", False),
        (HUB, "ample.org", False),
        (HUB, "localhost,127.0.0.1,10.0.0.0/8", False),
        (HUB, "", False),
        ("https://10.1.2.3:8443", "10.0.0.0/8", True),
        ("https://10.1.2.3:8443", "10.1.2.3:8443", True),
        ("https://10.1.2.3:8443", "10.1.2.3:443", False),
        ("https://10.1.2.3", "10.2.0.0/16", False),
        ("https://[fd00::7]", "fd00::/8", True),
        ("https://[fd00::7]", "[fd00::7]", True),
        ("https://[fd00::7]", "fe80::/10", False),
    ],
)
def test_hosts_that_no_proxy_names_are_reached_directly(
    monkeypatch: pytest.MonkeyPatch, url: str, rules: str, *, direct: bool
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example.org:3128")
    monkeypatch.setenv("NO_PROXY", rules)
    assert (find_route(url).proxy == "") is direct


@pytest.mark.parametrize(
    "value", ["socks://proxy:1080", "socks5h://proxy:1080", "ftp://proxy", "http://[proxy", "http://p:x"]
)
def test_a_proxy_that_cannot_be_used_is_told_without_its_password(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("ALL_PROXY", value.replace("//", "//user:secret@"))
    with pytest.raises(SetupError) as caught:
        Http(HUB)
    assert caught.value.code == "proxy_unusable"
    assert "ALL_PROXY" in caught.value.detail
    assert "secret" not in caught.value.detail + caught.value.hint


def test_the_name_of_a_proxy_has_no_password() -> None:
    assert Route("http://user:secret@proxy.example.org:3128").name == "http://proxy.example.org:3128"


def _failure(url: str, ca: Path | None = None) -> AgentError:
    client = Http(url, ca=ca)
    try:
        with pytest.raises(AgentError) as caught:
            client.call("GET", "/healthz")
    finally:
        client.close()
    return caught.value


def test_a_proxy_that_is_not_there_is_named_and_not_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://user:secret@127.0.0.1:1")
    error = _failure(HUB)
    assert (error.code, "http://127.0.0.1:1:" in error.detail, "secret" in error.detail) == (
        "proxy_failed",
        True,
        False,
    )
    assert "HTTPS_PROXY" in error.hint


def test_a_name_that_nobody_knows_is_told() -> None:
    error = _failure("https://hub.invalid")
    assert error.code == "hub_unreachable"
    assert "hub.invalid is not known here" in error.detail


@contextmanager
def _listener(greeting: bytes) -> Iterator[int]:
    """Something that is no web server, such as ssh: it speaks first."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    client, _ = server.accept()
                    with client:
                        client.sendall(greeting)
                        client.recv(4096)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize("greeting", [b"SSH-2.0-OpenSSH_9.2\r\n", b"220 mail.example.org ESMTP\r\n", b""])
def test_a_port_where_no_tls_is_spoken_is_told(greeting: bytes) -> None:
    with _listener(greeting) as port:
        error = _failure(f"https://127.0.0.1:{port}")
    assert error.code == "tls_failed"
    assert "port" in error.hint


def test_plain_http_behind_an_https_address_is_told(hub: HubDouble) -> None:
    error = _failure(hub.url.replace("http:", "https:"))
    assert error.code == "tls_failed"
    assert "its address then begins with http://" in error.hint


def test_what_takes_a_connection_and_says_nothing_in_tls_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the hub's own server without TLS does: it waits for the end of a first line."""
    monkeypatch.setattr("client_agent.http.CONNECT_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        error = _failure(f"https://127.0.0.1:{silent.getsockname()[1]}")
    assert (error.code, "or the hub has no TLS" in error.hint) == ("tls_failed", True)


def test_plain_http_to_a_hub_that_speaks_tls_is_told(tmp_path: Path) -> None:
    pems = certificates.make(tmp_path)
    hub = HubDouble(tls=(pems.certificate, pems.key))
    hub.start()
    error = _failure(hub.url.replace("https:", "http:"))
    hub.stop()
    assert (error.code, "https://" in error.hint) == ("connection_cut", True)


@pytest.mark.parametrize(("url", "who"), [("https://127.0.0.1:1", "http://"), (HUB, "its administrator")])
def test_who_can_help_where_no_tls_is_spoken_depends_on_where_the_hub_is(url: str, who: str) -> None:
    assert who in _no_tls(url, "no answer").hint


@pytest.mark.parametrize(
    ("days", "word"),
    [((-2, -1), "expired"), ((1, 2), "not yet valid")],
)
def test_a_certificate_out_of_its_time_hints_at_the_clock(tmp_path: Path, days: tuple[int, int], word: str) -> None:
    pems = certificates.make(tmp_path, hub_days=days)
    hub = HubDouble(tls=(pems.certificate, pems.key))
    hub.start()
    error = _failure(hub.url, pems.ca)
    hub.stop()
    assert error.code == "tls_untrusted"
    assert word in error.detail
    assert "date and time" in error.hint


def test_a_certificate_of_another_name_hints_at_the_name(tmp_path: Path) -> None:
    pems = certificates.make(tmp_path)
    hub = HubDouble(tls=(pems.certificate, pems.key))
    hub.start()
    error = _failure(f"https://localhost:{hub.port}", pems.ca)
    hub.stop()
    assert error.code == "tls_untrusted"
    assert "name" in error.hint
