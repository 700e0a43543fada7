"""nginx with the configuration of deploy/nginx, in front of a real hub with two web processes."""

import json
import os
import re
import shutil
import socket
import sqlite3
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import office
import pytest
from browser_socket import RefusedError
from drawn import draw_scans
from harness import Federation, Hub, environment, eventually

from hospintel_site import limits, ports
from hospintel_site.certificates import make_test_certificate

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy" / "nginx"
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
ELSEWHERE = "203.0.113.9"
needs_nginx = pytest.mark.skipif(NGINX is None, reason="needs nginx (Debian's package nginx-light)")


class Front:
    """nginx, the hub behind it, and its second web process."""

    def __init__(self, folder: Path) -> None:
        tls = make_test_certificate(folder / "tls", [])
        self.ca, self.folder = tls.ca, folder
        self.port, plain, second = (ports.any_free("127.0.0.1") for _ in range(3))
        self.hub = Hub(folder, HOSPINTEL_BEHIND_PROXY="1", HOSPINTEL_LOG_FORMAT="json")
        first = self.hub.processes.port
        self.second_log = (folder / "second.log").open("wb")
        self.second = subprocess.Popen(
            [sys.executable, "-m", "hospintel_site.server", "--port", str(second)],
            cwd=ROOT,
            env=environment(folder, HOSPINTEL_BEHIND_PROXY="1", HOSPINTEL_LOG_FORMAT="json"),
            stdout=self.second_log,
            stderr=self.second_log,
        )
        self.nginx = self._nginx(folder / "nginx", plain, (first, second))
        # Agents are told to come this way.
        self.hub.processes.address = f"https://127.0.0.1:{self.port}"
        self.client = httpx.Client(
            base_url=self.hub.processes.address, verify=ssl.create_default_context(cafile=str(self.ca)), timeout=120
        )

    def _nginx(self, folder: Path, plain: int, webs: tuple[int, int]) -> "subprocess.Popen[bytes]":
        """Start nginx with the files as they are deployed; only places and ports are others."""
        folder.mkdir(mode=0o755)
        upstream = (DEPLOY / "upstream-systemd.conf").read_text()
        site = (DEPLOY / "hospintel.conf").read_text()
        main = (DEPLOY / "nginx.conf").read_text()
        for old, new in (("127.0.0.1:8001", f"127.0.0.1:{webs[0]}"), ("127.0.0.1:8002", f"127.0.0.1:{webs[1]}")):
            upstream = _put(upstream, old, new)
        tls = self.ca.parent
        for old, new in (
            ("/etc/nginx/hospintel/upstream.conf", str(folder / "upstream.conf")),
            ("/etc/nginx/tls/fullchain.pem", str(tls / "cert.pem")),
            ("/etc/nginx/tls/key.pem", str(tls / "key.pem")),
            ("listen 443 ssl;", f"listen 127.0.0.1:{self.port} ssl;"),
            ("    listen [::]:443 ssl;\n", ""),
            ("listen 80;", f"listen 127.0.0.1:{plain};"),
            ("    listen [::]:80;\n", ""),
            ("/dev/stdout", str(folder / "access.log")),
            ("/tmp/", f"{folder}/"),
        ):
            site = _put(site, old, new)
        main = _put(_put(main, "/tmp/", f"{folder}/"), "/etc/nginx/hospintel/", f"{folder}/")
        for name, text in (("upstream.conf", upstream), ("hospintel.conf", site), ("nginx.conf", main)):
            (folder / name).write_text(text)
        # As root it would give up what it needs to look into a folder of ours.
        how = "daemon off;" + (" user root;" if os.geteuid() == 0 else "")
        command = [str(NGINX), "-c", str(folder / "nginx.conf"), "-e", "stderr", "-g", how]
        with (folder / "error.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
        eventually(
            lambda: _listens(self.port) and _listens(webs[1]), "nginx and the second web process listen", self.logs
        )
        return process

    def logs(self) -> str:
        """What nginx and the second web process have said."""
        return "\n".join(path.read_text(errors="replace")[-2000:] for path in self.folder.rglob("*.log"))

    def wire(self) -> ssl.SSLSocket:
        """A connection to nginx."""
        context = ssl.create_default_context(cafile=str(self.ca))
        return context.wrap_socket(
            socket.create_connection(("127.0.0.1", self.port), timeout=120), server_hostname="127.0.0.1"
        )

    def close(self) -> None:
        """End everything."""
        for process in (self.nginx, self.second):
            process.terminate()
            process.wait(120)
        self.second_log.close()
        self.client.close()
        self.hub.close()


def _put(text: str, old: str, new: str) -> str:
    assert old in text, f"the configuration has no {old}"
    return text.replace(old, new)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    made = Front(tmp_path_factory.mktemp("front"))
    yield made
    made.close()


# --- The text ---------------------------------------------------------------------------------------------------------


def test_the_limits_are_those_of_the_hub():
    site = (DEPLOY / "hospintel.conf").read_text()
    there = re.findall(r'location ~ "\^\(\?:(.*)\)\$" \{\s*client_max_body_size (\d+);', site)
    assert there == [(pattern.pattern, str(limit.most_bytes)) for pattern, limit in limits._TABLE]
    assert f"client_max_body_size {limits.DEFAULT.most_bytes};\n    location" in site
    assert f"limit_conn hospintel_connections {limits.MOST_CONNECTIONS};" in site


# --- The real thing ---------------------------------------------------------------------------------------------------


@needs_nginx
def test_agents_train_through_it(front: Front, tmp_path: Path):
    scans = tmp_path / "scans"
    draw_scans(scans, 6, seed=1)
    federation = Federation(front.hub, "behind", [scans], enrol=("--ca", str(front.ca)))
    try:
        federation.until_online()
        (round_,) = federation.until_run_is("DONE", federation.run(1, epochs=1))
    finally:
        federation.close()
    assert round_["updates"] == [(federation.hospitals[0], "CONSUMED")]
    first, second = (_requests(front.folder / name) for name in ("hub.log", "second.log"))
    assert first, "both web processes had their part"
    assert second, "both web processes had their part"
    assert [one for one in first + second if one["route"] == "round-update" and one["status"] == 202]


def _requests(log: Path) -> list[dict[str, object]]:
    events = [json.loads(line) for line in log.read_text().splitlines()]
    return [event for event in events if event["logger"] == "hospintel.access"]


OVER = [
    ("/anything", limits.DEFAULT.most_bytes),
    ("/api/v1/rounds/0/update", 5 << 20),
    ("/update", 10 << 20),
    ("/analyse/readings", 33 << 20),
    ("/api/v1/jobs/0/scans", 33 << 20),
    ("/validation/", 33 << 20),
    ("/api/v1/upload_model", 129 << 20),
]


@needs_nginx
@pytest.mark.parametrize(("path", "most"), OVER)
def test_a_body_over_the_limit_is_refused_by_nginx_as_the_hub_would(front: Front, path: str, most: int):
    head = f"POST {path} HTTP/1.1\r\nHost: localhost:{front.port}\r\nAuthorization: Bearer x\r\n"
    with front.wire() as wire:
        wire.sendall(f"{head}Content-Length: {most + 1}\r\n\r\n".encode())
        answer = _read(wire)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"Server: nginx" in answer
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "body_too_large"


@needs_nginx
def test_a_body_within_the_limit_reaches_the_hub(front: Front):
    answer = front.client.post("/update", content=bytes(9 << 20), headers={"Authorization": "Bearer x"})
    assert (answer.status_code, answer.headers["Server"]) != (413, "nginx")
    assert answer.json()["code"] == "token_invalid"


def _read(wire: ssl.SSLSocket) -> bytes:
    answer = b""
    while not answer.endswith(b"}"):
        more = wire.recv(65536)
        if not more:
            break
        answer += more
    return answer


@needs_nginx
def test_a_page_gets_its_socket_and_events_through_it(front: Front):
    name = front.hub.ask(office.create_doctor, "socket_doctor", "correct horse battery")
    front.client.cookies.clear()
    page = front.client.get("/accounts/login/")
    form = {"username": name, "password": "correct horse battery", "csrfmiddlewaretoken": page.cookies["__Host-csrf"]}
    origin = f"https://127.0.0.1:{front.port}"
    front.client.post("/accounts/login/", data=form, headers={"Referer": origin + "/accounts/login/", "Origin": origin})
    cookie = "; ".join(f"{one.name}={one.value}" for one in front.client.cookies.jar)
    assert "__Host-session=" in cookie
    with pytest.raises(RefusedError):
        _socket(front, cookie, "https://evil.example.org").close()
    with _socket(front, cookie, origin) as wire:
        front.hub.ask(office.create_federation, "told-live", min_updates=1)
        seen, end = b"", time.monotonic() + 120
        while b"federation.create" not in seen:
            assert time.monotonic() < end, seen
            seen += wire.recv(65536)


def _socket(front: Front, cookie: str, origin: str) -> ssl.SSLSocket:
    wire = front.wire()
    key = "dGhlIHNhbXBsZSBub25jZQ=="
    wire.sendall(
        (
            f"GET /ws/events/ HTTP/1.1\r\nHost: 127.0.0.1:{front.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nCookie: {cookie}\r\nOrigin: {origin}\r\n\r\n"
        ).encode()
    )
    status = int(wire.recv(4096).split()[1])
    if status != 101:
        wire.close()
        raise RefusedError(status)
    return wire


@needs_nginx
def test_a_request_has_one_id_from_nginx_to_the_hub_s_log(front: Front):
    answer = front.client.get("/status", headers={"X-Request-ID": "chosen-by-a-caller"})
    made = answer.headers["X-Request-ID"]
    assert re.fullmatch(r"[0-9a-f]{32}", made)
    logs = [front.folder / name for name in ("hub.log", "second.log")]
    eventually(lambda: any(f'"request": "{made}"' in log.read_text() for log in logs), "the id is in a log", front.logs)
    assert not [log for log in logs if "chosen-by-a-caller" in log.read_text()]


@needs_nginx
def test_static_files_are_kept_and_pages_are_not(front: Front):
    ids = set()
    for wanted in ("MISS", "HIT"):
        answer = front.client.get("/static/css/tokens.css")
        assert (answer.status_code, answer.headers["X-Cache"]) == (200, wanted)
        ids.add(answer.headers["X-Request-ID"])
    assert len(ids) == 2
    assert "X-Cache" not in front.client.get("/healthz").headers


@needs_nginx
def test_the_metrics_are_closed_behind_it(front: Front):
    assert front.client.get("/metrics").json()["code"] == "metrics_closed"


@needs_nginx
def test_who_calls_is_what_nginx_sees_and_without_web_processes_callers_are_told_to_wait(front: Front):
    front.client.cookies.clear()
    page = front.client.get("/accounts/login/")
    lies = {"X-Forwarded-For": ELSEWHERE, "X-Real-IP": ELSEWHERE, "Forwarded": f"for={ELSEWHERE}"}
    form = {"username": "nobody", "password": "wrong", "csrfmiddlewaretoken": page.cookies["__Host-csrf"]}
    origin = {"Referer": str(page.url), "Origin": str(front.client.base_url).rstrip("/")}
    for _ in range(3):
        answer = front.client.post("/accounts/login/", data=form, headers=lies | origin)
        assert answer.status_code == 200, answer.text
    front.second.terminate()
    front.second.wait(120)
    for _ in range(4):
        assert front.client.get("/healthz").status_code == 200
    front.hub.stop()
    answer = front.client.get("/healthz")
    assert (answer.status_code, answer.json()["code"]) == (503, "hub_away")
    assert answer.headers["Retry-After"] == "5"
    own = [json.loads(line) for line in (front.folder / "nginx" / "access.log").read_text().splitlines()]
    assert all(line["process"] == "nginx" for line in own)
    assert "127.0.0.1" not in (front.folder / "nginx" / "access.log").read_text()
    # The refusals were counted, and written when the web processes ended.
    assert _entries(front, "login.refused")
    assert all(b'"address":"127.0.0.1"' in entry for entry in _entries(front, "login.refused"))
    assert not [entry for entry in _entries(front, "") if ELSEWHERE.encode() in entry]


def _entries(front: Front, action: str) -> list[bytes]:
    with closing(sqlite3.connect(front.folder / "var" / "hospintel.sqlite3", timeout=60)) as database:
        rows = database.execute("SELECT body FROM audit_auditentry WHERE action LIKE ?", (f"{action}%",)).fetchall()
    return [bytes(row[0]) for row in rows]
