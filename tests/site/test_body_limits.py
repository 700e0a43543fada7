"""Nobody makes the hub keep a large body, neither on disk nor in memory, nor any body or connection for long."""

import json
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from hospintel_site.certificates import make_test_certificate
from hospintel_site.connections import owner_of
from hospintel_site.limits import DEFAULT, KIB, MIB, MOST_LARGE, limit_for

GIB = 1024 * MIB
BEARER = {"Authorization": "Bearer x"}
DEFAULT_CAP = DEFAULT.most_bytes
PART = "/api/v1/rounds/1/update"


@pytest.mark.parametrize(
    ("path", "stranger", "known"),
    [
        ("/", 64 * KIB, 64 * KIB),
        ("/accounts/login/", 64 * KIB, 64 * KIB),
        ("/api/v1/rounds/0f1e/update", 64 * KIB, 5 * MIB),
        ("/update", 64 * KIB, 10 * MIB),
        ("/api/v1/update", 64 * KIB, 10 * MIB),
        ("/upload_model", 64 * KIB, 129 * MIB),
        ("/api/v1/upload_model", 64 * KIB, 129 * MIB),
        ("/models/upload/", 64 * KIB, 129 * MIB),
        ("/api/v1/jobs/7/scans", 64 * KIB, 33 * MIB),
        ("/workbench/7/", 64 * KIB, 33 * MIB),
        ("/workbench/7/cancel", 64 * KIB, 64 * KIB),
        ("/update/../x", 64 * KIB, 64 * KIB),
    ],
)
def test_each_path_has_its_cap(path: str, stranger: int, known: int):
    assert limit_for(path, authorization=False).most_bytes == stranger
    assert limit_for(path, authorization=True).most_bytes == known
    # A browser has no such header: where people send large bodies too, it is their session's cookie that is asked for.
    assert limit_for(path, authorization=False, cookie=True).most_bytes == (known if known > 30 * MIB else stranger)


def test_a_sealed_scan_may_come_from_who_has_a_session_and_nothing_else_below_it():
    assert limit_for("/analyse/readings", authorization=False, cookie=True).most_bytes == 33 * MIB
    assert limit_for("/analyse/readings", authorization=False) == DEFAULT
    assert limit_for("/analyse/readings/7", authorization=False, cookie=True) == DEFAULT


def test_a_model_may_come_over_a_line_of_half_a_megabit():
    limit = limit_for("/upload_model", authorization=True)
    assert 84 * MIB / (64 * KIB) < limit.seconds(84 * MIB) < 3600


def test_a_part_may_come_over_a_line_of_a_kilobyte_a_second_and_nothing_else_takes_that_long():
    part = limit_for(PART, authorization=True)
    assert part.seconds(4 * MIB) > 4 * MIB / 1000 + 60
    assert part.seconds(None) < 2 * 3600
    assert DEFAULT.seconds(DEFAULT_CAP) == DEFAULT.seconds(None) == 60


def head(extra: str, path: str = "/") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{extra}\r\n\r\n".encode()


def push(process: Any, request: bytes, block: bytes, total: int) -> tuple[bytes, int, int, int]:
    """Send for as long as the other side takes it; return its answer, how much was sent, and the peaks it caused."""
    memory, disk, sent, answer = 0, 0, 0, b""
    with socket.create_connection(("127.0.0.1", process.port), timeout=120) as connection:
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
    with socket.create_connection(("127.0.0.1", echo.port), timeout=120) as connection:
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
        assert client.post(f"{address}/", content=iter([b"x" * KIB] * 64)).text == f"{DEFAULT_CAP} 127.0.0.1"
        client.headers.update(BEARER)
        part = f"{address}{PART}?offset=0"
        assert client.put(part, content=b"x" * 5 * MIB).status_code == 200
        assert client.put(part, content=iter([b"x" * MIB] * 4)).text.startswith(f"{4 * MIB} ")
        assert client.put(part, content=b"x" * (5 * MIB + 1)).status_code == 413


def test_credentials_raise_the_cap_where_the_table_says_so(echo: Any):
    url = f"http://127.0.0.1:{echo.port}/update"
    assert httpx.post(url, content=b"x" * 9 * MIB).status_code == 413
    assert httpx.post(url, content=b"x" * 9 * MIB, headers={"Cookie": "x"}).status_code == 413
    assert httpx.post(url, content=b"x" * 9 * MIB, headers=BEARER).text.startswith(f"{9 * MIB} ")
    assert httpx.post(url, content=b"x" * (10 * MIB + 1), headers=BEARER).status_code == 413


def test_so_many_large_bodies_at_a_time_and_no_more(echo: Any):
    url = f"http://127.0.0.1:{echo.port}/upload_model"
    request = head(f"Authorization: Bearer x\r\nContent-Length: {17 * MIB}", "/upload_model")
    with ExitStack() as stack:
        held = [
            stack.enter_context(socket.create_connection(("127.0.0.1", echo.port), timeout=120))
            for _ in range(MOST_LARGE)
        ]
        for connection in held:
            connection.sendall(request)
        time.sleep(0.5)
        answer = httpx.post(url, content=b"x" * 17 * MIB, headers=BEARER)
        assert (answer.status_code, answer.json()["code"]) == (503, "hub_busy")
        assert httpx.post(url, content=b"x" * 15 * MIB, headers=BEARER).status_code == 200
        # One is received whole and answered, and one goes away.
        held[0].sendall(b"x" * 17 * MIB)
        assert held[0].recv(100).startswith(b"HTTP/1.1 200")
        held[1].close()
        time.sleep(0.5)
        for _ in range(3):
            assert httpx.post(url, content=b"x" * 17 * MIB, headers=BEARER).status_code == 200


def test_a_large_body_is_passed_on_from_the_disk(echo: Any):
    before = echo.status("VmHWM")
    size = 128 * MIB
    answer = httpx.post(f"http://127.0.0.1:{echo.port}/upload_model", content=b"x" * size, headers=BEARER, timeout=240)
    assert answer.text.startswith(f"{size} ")
    assert echo.status("VmHWM") - before < 16 * MIB
    assert echo.spooled() == 0


def test_a_multipart_body_reaches_the_application_untouched(echo: Any):
    response = httpx.post(f"http://127.0.0.1:{echo.port}/update", files={"file": b"x" * MIB}, headers=BEARER)
    assert int(response.text.split()[0]) > MIB


def test_a_slow_reader_does_not_fill_the_memory(echo: Any):
    before = echo.status("VmRSS")
    with socket.create_connection(("127.0.0.1", echo.port), timeout=120) as connection:
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
    behind = start_process(["tests/site/echo_server.py", "PORT", "--proxy"])
    assert httpx.get(f"http://127.0.0.1:{behind.port}/", headers=told).text == "0 192.0.2.7"


def drip(process: Any, request: bytes, seconds: float) -> tuple[bytes, float]:
    """Send a byte now and then until the other side has had enough; its answer, and after how long it came."""
    started, answer = time.monotonic(), b""
    with socket.create_connection(("127.0.0.1", process.port), timeout=0.05) as connection:
        connection.sendall(request)
        while time.monotonic() - started < seconds:
            try:
                connection.sendall(b"x")
                if not (received := connection.recv(65536)):
                    break
                answer += received
            except TimeoutError:
                continue
            except OSError:
                break
    return answer, time.monotonic() - started


@pytest.fixture(scope="module")
def hasty(start_process: Any) -> Any:
    """A server with a hundredth of the patience: 0.6 s for what is short, 52 s for a part."""
    return start_process(["tests/site/echo_server.py", "PORT", "--patience", "0.01"])


@pytest.mark.parametrize(
    "request_",
    [
        head("Cookie: x\r\nContent-Length: 60000"),
        head("Authorization: Bearer x\r\nContent-Length: 60000", "/upload_model"),
        head("Content-Length: 60000", PART),
        head("Transfer-Encoding: chunked"),
        b"POST / HTTP/1.1\r\nHost: localhost\r\nX-Never-Ends: ",
    ],
)
def test_a_request_that_comes_by_the_byte_is_given_up(hasty: Any, request_: bytes):
    request_ += b"10000\r\n" if b"chunked" in request_ else b""
    answer, seconds = drip(hasty, request_, 10)
    top, _, body = answer.partition(b"\r\n\r\n")
    assert top.startswith(b"HTTP/1.1 408 ")
    assert json.loads(body)["code"] == "request_too_slow"
    assert seconds < 5
    assert hasty.spooled() == 0


def test_a_part_may_be_slow(hasty: Any):
    answer, seconds = drip(hasty, head(f"Authorization: Bearer x\r\nContent-Length: {4 * MIB}", PART), 2.5)
    assert (answer, seconds >= 2.5) == (b"", True)


def test_a_request_in_time_may_be_answered_as_late_as_it_takes(hasty: Any):
    with socket.create_connection(("127.0.0.1", hasty.port), timeout=120) as connection:
        connection.sendall(b"GET /stream/64 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        time.sleep(1.5)
        received = 0
        while block := connection.recv(1 << 20):
            received += len(block)
    assert received > 64 * MIB


@pytest.mark.parametrize("tls", [False, True])
def test_one_address_has_so_many_connections_and_no_more(start_process: Any, tmp_path: Path, tls: bool):
    made = make_test_certificate(tmp_path / "tls", ["localhost"])
    secure = ["--tls", str(made.cert), str(made.key)] if tls else []
    process = start_process(["tests/site/echo_server.py", "PORT", "--most-connections", "3", *secure])
    time.sleep(0.2)  # the one that waited for the start is gone

    def is_open(connection: socket.socket) -> bool:
        connection.settimeout(0.3)
        try:
            return connection.recv(1) != b""
        except TimeoutError:
            return True
        except OSError:
            return False

    with ExitStack() as stack:
        held = [stack.enter_context(socket.create_connection(("127.0.0.1", process.port))) for _ in range(4)]
        assert [is_open(connection) for connection in held] == [True, True, True, False]
        held[0].close()
        time.sleep(0.2)
        assert is_open(stack.enter_context(socket.create_connection(("127.0.0.1", process.port))))


def test_a_network_of_ipv6_counts_as_one_address():
    assert owner_of("2001:db8:1:2::7") == owner_of("2001:db8:1:2:ffff::8") != owner_of("2001:db8:1:3::7")
    assert owner_of("::ffff:192.0.2.1") == owner_of("192.0.2.1") != owner_of("192.0.2.2")
    assert owner_of("fe80::1%eth0") == owner_of("fe80::2")


def test_a_busy_port_ends_the_server_with_a_sentence(echo: Any):
    ended = subprocess.run(
        [sys.executable, "-m", "hospintel_site.server", "--port", str(echo.port)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ended.returncode == 1
    assert "error: Couldn't listen" in ended.stderr
