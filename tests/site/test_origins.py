"""Only pages of this very hub open WebSockets: not those of another port, scheme or host."""

from typing import Any

import pytest

from hospintel_site.origins import is_ours


@pytest.fixture(autouse=True)
def _names(settings: Any) -> None:
    settings.ALLOWED_HOSTS, settings.SECURE = ["hub.example.org", "127.0.0.1", "[::1]"], False


@pytest.mark.parametrize("host", ["hub.example.org", "hub.example.org:8000", "127.0.0.1:8000", "[::1]:8000"])
def test_the_hubs_own_pages_may(host: str):
    assert is_ours(f"http://{host}", host)


@pytest.mark.parametrize(
    "origin",
    [
        "http://hub.example.org:3000",
        "http://hub.example.org",
        "https://hub.example.org:8000",
        "http://other.example.org:8000",
        "http://hub.example.org:8000.evil.example",
        "null",
        "",
    ],
)
def test_pages_of_another_port_scheme_or_host_may_not(origin: str):
    assert not is_ours(origin, "hub.example.org:8000")


def test_a_host_that_is_not_ours_is_not_made_ours_by_naming_it_twice():
    assert not is_ours("http://evil.example:8000", "evil.example:8000")
    assert not is_ours("http://", "")


def test_with_tls_the_page_has_it_too(settings: Any):
    settings.SECURE = True
    assert is_ours("https://hub.example.org", "hub.example.org")
    assert not is_ours("http://hub.example.org", "hub.example.org")


def test_a_proxy_on_another_port_is_named_as_for_forms(settings: Any):
    settings.SECURE, settings.CSRF_TRUSTED_ORIGINS = True, ["https://hub.example.org:8443", "https://*.example.net"]
    assert is_ours("https://hub.example.org:8443", "hub.example.org")
    assert is_ours("https://a.example.net", "hub.example.org")
    assert not is_ours("https://a.example.net:444", "hub.example.org")
    assert not is_ours("http://a.example.net", "hub.example.org")
    assert not is_ours("https://[", "hub.example.org")
