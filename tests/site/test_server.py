"""The web server with the whole application, over real sockets."""

import base64
import os
import secrets
import socket
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[2]


class WebSocket:
    """The least of RFC 6455: one handshake, short text frames."""

    def __init__(self, port: int, path: str, **headers: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        lines = {
            "Host": f"localhost:{port}",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(secrets.token_bytes(16)).decode(),
            **headers,
        }
        top = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self.socket.sendall(f"GET {path} HTTP/1.1\r\n{top}\r\n".encode())
        self.answer = b""
        while b"\r\n\r\n" not in self.answer and (received := self.socket.recv(1)):
            self.answer += received

    @property
    def status(self) -> int:
        return int(self.answer.split()[1])

    def send(self, text: str) -> None:
        mask = secrets.token_bytes(4)
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(text.encode()))
        self.socket.sendall(bytes([0x81, 0x80 | len(masked)]) + mask + masked)

    def receive(self) -> str:
        length = self.socket.recv(2)[1]
        return self.socket.recv(length).decode()


@pytest.fixture(scope="module")
def var(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("var")
    environment = {**os.environ, "HOSPINTEL_VAR": str(folder)}
    subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], cwd=ROOT, env=environment, check=True, timeout=240)
    return folder


@pytest.fixture(scope="module")
def web(start_process: Any, var: Path) -> Any:
    return start_process(["-m", "hospintel_site.server", "--port", "PORT"], HOSPINTEL_VAR=str(var))


def test_websockets_pass_through(echo: Any):
    with closing(WebSocket(echo.port, "/").socket):
        pass
    connection = WebSocket(echo.port, "/")
    with closing(connection.socket):
        assert connection.status == 101
        connection.send("round 7")
        assert connection.receive() == "ROUND 7"


def test_a_websocket_that_has_to_wait_for_a_busy_hub_opens_all_the_same(echo: Any):
    connection = WebSocket(echo.port, "/late")
    with closing(connection.socket):
        assert connection.status == 101


def test_a_websocket_counts_as_a_connection_until_it_ends(start_process: Any):
    process = start_process(["tests/site/echo_server.py", "PORT", "--most-connections", "1"])
    time.sleep(0.2)  # the one that waited for the start is gone
    connection = WebSocket(process.port, "/")
    with closing(connection.socket):
        assert connection.status == 101
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            httpx.get(f"http://127.0.0.1:{process.port}/")
    time.sleep(0.2)
    assert httpx.get(f"http://127.0.0.1:{process.port}/").status_code == 200


def test_a_failing_application_neither_pretends_nor_takes_the_server_with_it(echo: Any):
    address = f"http://127.0.0.1:{echo.port}"
    assert httpx.get(f"{address}/break/first").status_code == 500
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        httpx.get(f"{address}/break/half")
    # The loop that answers for a failed application still runs.
    assert httpx.get(f"{address}/break/again").status_code == 500
    assert httpx.get(f"{address}/").status_code == 200


def test_a_page_of_another_site_gets_no_websocket(web: Any):
    for origin in ({"Origin": "https://evil.example.org"}, {}):
        connection = WebSocket(web.port, "/ws/events/", **origin)
        with closing(connection.socket):
            assert connection.status == 403


def test_names_that_are_not_ours_are_refused(web: Any):
    answer = httpx.get(f"http://127.0.0.1:{web.port}/healthz", headers={"Host": "evil.example.org"})
    assert answer.status_code == 400


def test_every_answer_says_what_time_it_is_at_the_hub(web: Any):
    for path in ("/healthz", "/", "/api/v1/status", "/nowhere"):
        answer = httpx.get(f"http://127.0.0.1:{web.port}{path}", timeout=120)
        assert abs(parsedate_to_datetime(answer.headers["date"]).timestamp() - time.time()) < 5


def test_many_callers_at_once_are_served(web: Any):
    url = f"http://127.0.0.1:{web.port}/accounts/login/"
    with ThreadPoolExecutor(16) as pool:
        codes = list(pool.map(lambda _: httpx.get(url, timeout=120).status_code, range(64)))
    assert codes == [200] * 64


def the_entry(var: Path, action: str) -> bytes:
    with closing(sqlite3.connect(var / "hospintel.sqlite3")) as database:
        (row,) = database.execute("SELECT body FROM audit_auditentry WHERE action = ?", (action,)).fetchall()
    return bytes(row[0])


def test_refused_strangers_are_in_the_audit_when_the_server_ends(start_process: Any, var: Path):
    server = start_process(["-m", "hospintel_site.server", "--port", "PORT"], HOSPINTEL_VAR=str(var))
    page = f"http://127.0.0.1:{server.port}/accounts/login/"
    with httpx.Client() as client:
        client.get(page)
        form = {"username": "x", "password": "y", "csrfmiddlewaretoken": client.cookies["csrf"]}
        for _ in range(5):
            assert client.post(page, data=form).status_code == 200
    for _ in range(3):
        assert httpx.post(page, content=b"x" * 100_000).status_code == 413
    server.stop()
    assert b'"calls":5' in the_entry(var, "login.refused")
    entry = the_entry(var, "request.body")
    assert b'"calls":3' in entry
    assert b'"code":"body_too_large"' in entry
    assert b'"address":"127.0.0.1"' in entry
