"""Nobody makes the hub keep a large body: neither on disk nor in memory."""

import json
import socket
import subprocess
import sys
import time
from typing import Any

import httpx
import pytest

from hospintel_site.limits import DEFAULT_CAP, MIB, cap_for

GIB = 1024 * MIB
BEARER = {"Authorization": "Bearer x"}


@pytest.mark.parametrize(
    ("path", "stranger", "known"),
    [
        ("/", 8, 8),
        ("/login", 8, 8),
        ("/api/v1/rounds/0f1e/update", 5, 5),
        ("/update", 8, 16),
        ("/api/v1/update", 8, 16),
        ("/upload_model", 8, 128),
        ("/api/v1/jobs/7/scans", 8, 64),
        ("/update/../x", 8, 8),
    ],
)
def test_each_path_has_its_cap(path: str, stranger: int, known: int):
    assert cap_for(path, credentials=False) == stranger * MIB
    assert cap_for(path, credentials=True) == known * MIB


def head(extra: str, path: str = "/") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{extra}\r\n\r\n".encode()


def push(process: Any, request: bytes, block: bytes, total: int) -> tuple[bytes, int, int, int]:
    """Send for as long as the other side takes it; return its answer, how much was sent, and the peaks it caused."""
    memory, disk, sent, answer = 0, 0, 0, b""
    with socket.create_connection(("127.0.0.1", process.port), timeout=10) as connection:
        connection.sendall(request)
        try:
            while sent < total:
                connection.sendall(block)
                sent += len(block)
                if sent % (4 * MIB) < len(block):
                    memory = max(memory, process.status("VmRSS"))
                    disk = max(disk, process.spooled())
        except OSError:
            pass
        try:
            while received := connection.recv(65536):
                answer += received
        except OSError:
            pass
    return answer, sent, memory, disk


def assert_refused(answer: bytes) -> None:
    top, _, body = answer.partition(b"\r\n\r\n")
    assert top.startswith(b"HTTP/1.1 413 ")
    assert b"Connection: close" in top
    assert json.loads(body)["code"] == "body_too_large"


def test_a_gigabyte_announced_is_refused_at_once(echo: Any):
    before = echo.status("VmRSS")
    started = time.monotonic()
    answer, _, memory, disk = push(echo, head(f"Content-Length: {GIB}"), b"x" * 65536, GIB)
    assert_refused(answer)
    assert memory - before < 8 * MIB
    assert disk == 0
    assert time.monotonic() - started < 10


def test_a_gigabyte_in_chunks_is_refused_at_the_cap(echo: Any):
    before = echo.status("VmRSS")
    block = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    answer, _, memory, disk = push(echo, head("Transfer-Encoding: chunked"), block, GIB)
    assert_refused(answer)
    assert memory - before < 8 * MIB
    assert disk <= DEFAULT_CAP
    assert echo.spooled() == 0


def test_a_caller_that_asks_first_is_told_no(echo: Any):
    with socket.create_connection(("127.0.0.1", echo.port), timeout=10) as connection:
        connection.sendall(head(f"Content-Length: {GIB}\r\nExpect: 100-continue"))
        answer = b""
        while received := connection.recv(65536):
            answer += received
    assert b"100 Continue" not in answer
    assert_refused(answer)


def test_a_request_hidden_behind_a_refused_body_is_not_run(echo: Any):
    body = b"%x\r\n" % (DEFAULT_CAP + 1) + b"x" * (DEFAULT_CAP + 1) + b"\r\n0\r\n\r\n"
    answer, *_ = push(echo, head("Transfer-Encoding: chunked"), body + head("Content-Length: 0"), len(body))
    assert answer.count(b"HTTP/1.1") == 1
    assert_refused(answer)


def test_bodies_up_to_the_cap_arrive_whole(echo: Any):
    address = f"http://127.0.0.1:{echo.port}"
    with httpx.Client() as client:
        assert client.post(f"{address}/", content=b"x" * DEFAULT_CAP).text == f"{DEFAULT_CAP} 127.0.0.1"
        assert client.post(f"{address}/", content=iter([b"x" * MIB] * 8)).text == f"{DEFAULT_CAP} 127.0.0.1"
        assert client.put(f"{address}/api/v1/rounds/1/update?offset=0", content=b"x" * 5 * MIB).status_code == 200
        assert client.put(f"{address}/api/v1/rounds/1/update?offset=0", content=b"x" * (5 * MIB + 1)).status_code == 413


def test_credentials_raise_the_cap_where_the_table_says_so(echo: Any):
    url = f"http://127.0.0.1:{echo.port}/update"
    assert httpx.post(url, content=b"x" * 10 * MIB).status_code == 413
    assert httpx.post(url, content=b"x" * 10 * MIB, headers=BEARER).text.startswith(f"{10 * MIB} ")
    assert httpx.post(url, content=b"x" * (16 * MIB + 1), headers=BEARER).status_code == 413


def test_a_multipart_body_reaches_the_application_untouched(echo: Any):
    response = httpx.post(f"http://127.0.0.1:{echo.port}/update", files={"file": b"x" * MIB})
    assert int(response.text.split()[0]) > MIB


def test_a_slow_reader_does_not_fill_the_memory(echo: Any):
    before = echo.status("VmRSS")
    with socket.create_connection(("127.0.0.1", echo.port), timeout=10) as connection:
        connection.sendall(b"GET /stream/256 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        time.sleep(1.5)
        assert echo.status("VmRSS") - before < 32 * MIB
        received = 0
        while block := connection.recv(1 << 20):
            received += len(block)
    assert received > 256 * MIB
    assert echo.status("VmRSS") - before < 32 * MIB


def test_only_a_proxy_may_name_the_callers_address(start_process: Any, echo: Any):
    told = {"X-Real-IP": "192.0.2.7"}
    assert httpx.get(f"http://127.0.0.1:{echo.port}/", headers=told).text == "0 127.0.0.1"
    behind = start_process(["tests/site/echo_server.py", "PORT", "proxy"])
    assert httpx.get(f"http://127.0.0.1:{behind.port}/", headers=told).text == "0 192.0.2.7"


def test_a_busy_port_ends_the_server_with_a_sentence(echo: Any):
    ended = subprocess.run(
        [sys.executable, "-m", "hospintel_site.server", "--port", str(echo.port)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert "error: Couldn't listen" in ended.stderr
