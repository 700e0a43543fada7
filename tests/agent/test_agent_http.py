"""Transport: TLS, proxies, addresses, errors, resumable downloads; over real sockets."""

import hashlib
import ssl
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import certificates
import pytest
from hub_double import HubDouble
from hub_http import answer, busy, cut_answer, redirect
from proxy_double import ProxyDouble

from client_agent import __version__
from client_agent.errors import HubRefusedError, HubUnreachableError, SetupError, UntrustedError
from client_agent.http import Http
from client_agent.hub import Hub
from client_agent.route import check_hub_url, is_loopback, tls_context


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> certificates.Certificates:
    return certificates.make(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def tls_hub(pems: certificates.Certificates) -> Iterator[HubDouble]:
    double = HubDouble(tls=(pems.certificate, pems.key))
    double.start()
    yield double
    double.stop()


@pytest.fixture
def http(hub: HubDouble) -> Iterator[Http]:
    hub.agents["token"] = (hub.run_id, b"")
    client = Http(hub.url, token="token")
    yield client
    client.close()


# -- addresses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["https://hub.example.org", "http://127.0.0.1:8000", "http://localhost", "http://[::1]:1"]
)
def test_https_and_plain_http_to_this_machine_are_accepted(url: str) -> None:
    assert check_hub_url(url + "/") == url


@pytest.mark.parametrize(
    "url", ["http://hub.example.org", "http://10.0.0.1", "http://localhost.example.org", "http://0.0.0.0"]
)
def test_plain_http_to_another_machine_is_refused(url: str) -> None:
    with pytest.raises(HubUnreachableError) as caught:
        check_hub_url(url)
    assert caught.value.code == "insecure_hub"


@pytest.mark.parametrize(
    "url", ["", "hub.example.org", "ftp://hub", "https://", "https://user:pw@hub", "https://hub/?a=1", "https://hub:x"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(SetupError) as caught:
        check_hub_url(url)
    assert caught.value.code == "bad_hub_url"


def test_only_addresses_of_this_machine_are_loopback() -> None:
    assert [is_loopback(host) for host in ("localhost", "127.0.0.2", "::1", "example.org", "128.0.0.1")] == [
        True,
        True,
        True,
        False,
        False,
    ]


# -- TLS and proxies ------------------------------------------------------------------------------------------------


def test_a_hub_with_a_certificate_of_the_given_ca_is_trusted(
    tls_hub: HubDouble, pems: certificates.Certificates
) -> None:
    client = Http(tls_hub.url, ca=pems.ca)
    assert client.call("GET", "/healthz").json() == {"status": "ok"}
    client.close()


def test_a_hub_with_a_certificate_of_nobody_known_is_not_trusted(tls_hub: HubDouble) -> None:
    client = Http(tls_hub.url)
    with pytest.raises(HubUnreachableError) as caught:
        client.call("GET", "/healthz")
    client.close()
    assert caught.value.code == "tls_untrusted"
    assert "--ca" in caught.value.hint


def test_a_file_that_holds_no_certificate_is_told(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(SetupError):
        Http("https://hub.example.org", ca=tmp_path / "ca.pem")


def test_nothing_older_than_tls_1_2_is_spoken(pems: certificates.Certificates) -> None:
    context = tls_context(pems.ca)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname


def test_the_environment_s_proxy_carries_verified_tls_to_the_hub(
    tls_hub: HubDouble, pems: certificates.Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = ProxyDouble(tls_hub.port)
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    client = Http(f"https://{certificates.HUB_NAME}", ca=pems.ca)
    assert client.call("GET", "/healthz").json() == {"status": "ok"}
    client.close()
    proxy.stop()
    assert proxy.asked == ["hub.example.org:443"]


@pytest.mark.parametrize(
    ("answer", "code", "hint"),
    [
        ("407 Proxy Authentication Required", "proxy_failed", "http://user:password@"),
        ("403 Forbidden", "proxy_failed", "to allow https://hub.example.org"),
        ("502 Bad Gateway", "hub_unreachable", "whether the hub is up"),
        ("503 Service Unavailable", "hub_unreachable", "whether the hub is up"),
        ("504 Gateway Timeout", "hub_unreachable", "whether the hub is up"),
    ],
)
def test_what_a_proxy_says_instead_of_tunnelling_is_told_with_its_remedy(
    tls_hub: HubDouble,
    pems: certificates.Certificates,
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    code: str,
    hint: str,
) -> None:
    proxy = ProxyDouble(tls_hub.port, refuse=answer)
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    client = Http(f"https://{certificates.HUB_NAME}", ca=pems.ca)
    with pytest.raises(HubUnreachableError) as caught:
        client.call("GET", "/healthz")
    client.close()
    proxy.stop()
    assert caught.value.code == code
    assert hint in caught.value.hint


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_the_name_and_password_of_a_proxy_go_to_it_as_they_are_meant(
    tls_hub: HubDouble, pems: certificates.Certificates, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    proxy = ProxyDouble(tls_hub.port, login="CLINIC\\agent:p@ss:w/rd#1")
    monkeypatch.setenv(variable, proxy.url.replace("//", "//CLINIC%5Cagent:p%40ss%3Aw%2Frd%231@"))
    client = Http(f"https://{certificates.HUB_NAME}", ca=pems.ca)
    assert client.call("GET", "/healthz").json() == {"status": "ok"}
    client.close()
    proxy.stop()


def test_a_proxy_that_does_not_take_the_password_is_told_without_it(
    tls_hub: HubDouble, pems: certificates.Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = ProxyDouble(tls_hub.port, login="agent:right")
    monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("//", "//agent:wrong-secret@"))
    client = Http(f"https://{certificates.HUB_NAME}", ca=pems.ca)
    with pytest.raises(HubUnreachableError) as caught:
        client.call("GET", "/healthz")
    client.close()
    proxy.stop()
    assert caught.value.code == "proxy_failed"
    assert "does not take the user name and password in HTTPS_PROXY" in caught.value.detail
    assert "NTLM" in caught.value.hint
    assert "wrong-secret" not in caught.value.detail + caught.value.hint


def test_a_hub_on_this_machine_is_reached_past_the_proxy(hub: HubDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    client = Http(hub.url)
    assert client.call("GET", "/healthz").status == 200
    client.close()


# -- answers --------------------------------------------------------------------------------------------------------


def test_requests_say_who_asks(http: Http, hub: HubDouble) -> None:
    http.call("GET", "/healthz")
    headers = hub.seen[0].headers
    assert headers["user-agent"] == f"hospintel-agent/{__version__}"
    assert headers["x-hospintel-version"] == __version__
    assert headers["authorization"] == "Bearer token"


def test_the_hub_s_own_refusal_keeps_its_code(http: Http, hub: HubDouble) -> None:
    hub.inject("GET", "/healthz", answer(409, {"code": "offset_mismatch", "detail": "Go on there.", "received": 7}))
    with pytest.raises(HubRefusedError) as caught:
        http.call("GET", "/healthz")
    assert (caught.value.code, caught.value.status, caught.value.body["received"]) == ("offset_mismatch", 409, 7)


def test_a_refusal_that_is_not_the_hub_s_hints_at_the_proxy(http: Http, hub: HubDouble) -> None:
    hub.inject("GET", "/healthz", answer(403, b"<html>blocked</html>"))
    with pytest.raises(HubRefusedError) as caught:
        http.call("GET", "/healthz")
    assert caught.value.code == "http_403"
    assert "proxy" in caught.value.hint


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 507, 520])
def test_answers_that_mean_not_now_can_be_tried_again(http: Http, hub: HubDouble, status: int) -> None:
    hub.inject("GET", "/healthz", busy(status, "3"))
    with pytest.raises(HubUnreachableError) as caught:
        http.call("GET", "/healthz")
    assert (caught.value.code, caught.value.retry_after) == ("hub_busy", 3.0)


def test_the_hub_s_own_429_about_attempts_is_a_refusal(http: Http, hub: HubDouble) -> None:
    hub.inject("GET", "/healthz", answer(429, {"code": "too_many_attempts", "detail": "No more."}))
    with pytest.raises(HubRefusedError):
        http.call("GET", "/healthz")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("12", 12.0),
        ("0.5", 0.5),
        ("Wed, 25 Nov 2026 10:00:30 GMT", 30.0),
        ("Wed, 25 Nov 2026 09:00:00 GMT", 0.0),
        ("99999999999999", 3600.0),
        ("9" * 400, None),
        ("Wed, 25 Nov 9999 10:00:00 GMT", 3600.0),
        ("Wed, 25 Nov 2026 10:00:00 +99999999999999999999", None),
        ("\u00b2", None),
        ("soon", None),
        ("-5", None),
    ],
)
def test_retry_after_may_be_seconds_or_a_date(http: Http, hub: HubDouble, value: str, seconds: float | None) -> None:
    def fault(handler) -> bool:  # type: ignore[no-untyped-def]
        handler.date_time_string = lambda: "Wed, 25 Nov 2026 10:00:00 GMT"
        return busy(503, value)(handler)

    hub.inject("GET", "/healthz", fault)
    with pytest.raises(HubUnreachableError) as caught:
        http.call("GET", "/healthz")
    assert caught.value.retry_after == seconds


@pytest.mark.parametrize("state", ["GONE", {}, [], 1])
def test_a_state_that_no_update_has_is_not_believed(http: Http, hub: HubDouble, state: object) -> None:
    told = {"state": state, "received": 1, "attempts_left": 1, "round_state": "COLLECTING"}
    hub.inject("GET", "/update", answer(200, told))
    with pytest.raises(UntrustedError) as caught:
        Hub(http).update(UUID(int=1))
    assert caught.value.code == "answer_malformed"


@pytest.mark.parametrize("body", [b"<html></html>", b"[1]", b"", b"\xff", b"[" * 100_000])
def test_an_answer_that_is_no_json_object_is_not_believed(http: Http, hub: HubDouble, body: bytes) -> None:
    hub.inject("GET", "/healthz", answer(200, body))
    with pytest.raises(UntrustedError) as caught:
        http.call("GET", "/healthz").json()
    assert caught.value.code == "answer_malformed"


def test_an_answer_without_end_is_cut_off(http: Http, hub: HubDouble) -> None:
    hub.inject("GET", "/healthz", answer(200, bytes(2_000_000)))
    with pytest.raises(UntrustedError) as caught:
        http.call("GET", "/healthz")
    assert caught.value.code == "answer_too_large"


def test_text_from_the_network_cannot_steer_the_terminal(http: Http, hub: HubDouble) -> None:
    hub.inject(
        "GET", "/healthz", answer(400, {"code": "bad\x1b[31m", "detail": "red\x1b[31m\r\nhint: run this" + "x" * 999})
    )
    with pytest.raises(HubRefusedError) as caught:
        http.call("GET", "/healthz")
    assert "\x1b" not in caught.value.code + caught.value.detail
    assert "\n" not in caught.value.detail
    assert len(caught.value.detail) == 300


def test_a_redirect_does_not_take_the_token_along(http: Http, hub: HubDouble) -> None:
    other = HubDouble()
    other.start()
    hub.inject("GET", "/healthz", redirect(other.url + "/healthz"))
    with pytest.raises(UntrustedError):
        http.call("GET", "/healthz")
    other.stop()
    assert other.seen == []


def test_nobody_listening_is_unreachable(http: Http, hub: HubDouble) -> None:
    hub.stop()
    with pytest.raises(HubUnreachableError) as caught:
        http.call("GET", "/healthz")
    assert caught.value.code == "hub_unreachable"


def test_a_silent_hub_is_a_timeout(http: Http, hub: HubDouble) -> None:
    hold = hub.hold("GET", "/healthz")
    with pytest.raises(HubUnreachableError) as caught:
        http.call("GET", "/healthz", timeout=0.1)
    hold.go.set()
    assert caught.value.code == "hub_timeout"


# -- downloads ------------------------------------------------------------------------------------------------------


def _fetch(http: Http, hub: HubDouble, target: Path, limit: int = 1_000_000) -> None:
    http.download(f"/api/v1/models/{hub.current}", target, digest=hub.current, limit=limit)


def test_a_broken_download_goes_on_where_it_stopped(http: Http, hub: HubDouble, tmp_path: Path) -> None:
    data = hub.models[hub.current]
    for cut in (1000, 5000):
        hub.inject("GET", "/models/", cut_answer(cut))
        with pytest.raises(HubUnreachableError):
            _fetch(http, hub, tmp_path / "model")
    _fetch(http, hub, tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == data
    ranges = [seen.headers.get("range") for seen in hub.seen]
    assert ranges == [None, "bytes=1000-", "bytes=6000-"]
    assert not (tmp_path / "model.part").exists()


def test_a_hub_that_ignores_ranges_sends_the_whole_again(http: Http, hub: HubDouble, tmp_path: Path) -> None:
    data = hub.models[hub.current]
    (tmp_path / "model.part").write_bytes(b"x" * 100)
    hub.inject("GET", "/models/", answer(200, data))
    _fetch(http, hub, tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == data


def test_a_foreign_beginning_is_thrown_away(http: Http, hub: HubDouble, tmp_path: Path) -> None:
    (tmp_path / "model.part").write_bytes(b"x" * 100)
    _fetch(http, hub, tmp_path / "model")
    assert hashlib.sha256((tmp_path / "model").read_bytes()).hexdigest() == hub.current


def test_a_download_whose_last_step_was_lost_is_complete(http: Http, hub: HubDouble, tmp_path: Path) -> None:
    (tmp_path / "model.part").write_bytes(hub.models[hub.current])
    _fetch(http, hub, tmp_path / "model")
    assert (tmp_path / "model").exists()


def test_another_range_than_the_one_asked_for_is_refused(http: Http, hub: HubDouble, tmp_path: Path) -> None:
    (tmp_path / "model.part").write_bytes(hub.models[hub.current][:100])
    hub.inject("GET", "/models/", answer(206, b"x", {"Content-Range": "bytes 7-7/100"}))
    with pytest.raises(UntrustedError):
        _fetch(http, hub, tmp_path / "model")
