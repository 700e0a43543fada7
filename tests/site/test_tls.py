"""TLS with a certificate for trials."""

import ssl
import stat
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.core.management import CommandError, call_command

from hospintel_site.certificates import make_test_certificate


def test_the_server_speaks_tls_to_those_who_know_the_authority(start_process: Any, tmp_path: Path):
    files = make_test_certificate(tmp_path, ["hub.example.org"])
    server = start_process(["tests/site/echo_server.py", "PORT", "--tls", str(files.cert), str(files.key)])
    trusting = ssl.create_default_context(cafile=str(files.ca))
    for name in ("localhost", "127.0.0.1"):
        assert httpx.get(f"https://{name}:{server.port}/", verify=trusting).status_code == 200
    big = httpx.post(f"https://localhost:{server.port}/", content=b"x" * 9_000_000, verify=trusting)
    assert (big.status_code, big.json()["code"]) == (413, "body_too_large")
    with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
        httpx.get(f"https://localhost:{server.port}/")
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"http://localhost:{server.port}/")


def test_nothing_older_than_tls_1_2_is_spoken(start_process: Any, tmp_path: Path):
    files = make_test_certificate(tmp_path, [])
    server = start_process(["tests/site/echo_server.py", "PORT", "--tls", str(files.cert), str(files.key)])
    old = ssl.create_default_context(cafile=str(files.ca))
    # Asking for it is what the test is about; OpenSSL's own floor is lowered so that the refusal is the server's.
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("DEFAULT@SECLEVEL=0")
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"https://localhost:{server.port}/", verify=old)


def test_over_tls_cookies_are_for_this_host_and_tls_alone(start_process: Any, tmp_path: Path):
    files = make_test_certificate(tmp_path / "tls", [])
    environment = {
        "HOSPINTEL_VAR": str(tmp_path),
        "HOSPINTEL_TLS_CERT": str(files.cert),
        "HOSPINTEL_TLS_KEY": str(files.key),
        "HOSPINTEL_ALLOWED_HOSTS": "localhost,hub.example.org",
    }
    server = start_process(["-m", "hospintel_site.server", "--port", "PORT"], **environment)
    trusting = ssl.create_default_context(cafile=str(files.ca))
    answer = httpx.get(f"https://localhost:{server.port}/accounts/login/", verify=trusting)
    assert answer.status_code == 200
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("__Host-csrf=")
    for part in ("Secure", "HttpOnly", "SameSite=Lax", "Path=/"):
        assert part in cookie
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"


def test_the_command_names_the_variables_and_replaces_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    call_command("make_test_cert", "--out", str(tmp_path / "tls"), "--host", "hub.example.org", "--host", "192.0.2.9")
    printed = capsys.readouterr().out
    assert f"export HOSPINTEL_TLS_CERT={tmp_path / 'tls' / 'cert.pem'}" in printed
    assert "export HOSPINTEL_ALLOWED_HOSTS=localhost,127.0.0.1,hub.example.org,192.0.2.9" in printed
    assert stat.S_IMODE((tmp_path / "tls" / "key.pem").stat().st_mode) == 0o600
    with pytest.raises(CommandError, match="exists already"):
        call_command("make_test_cert", "--out", str(tmp_path / "tls"))
    with pytest.raises(CommandError, match="no host name"):
        call_command("make_test_cert", "--out", str(tmp_path / "other"), "--host", "hüb")
