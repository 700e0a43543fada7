"""The network side of the hub double: sockets, routes, and the faults that tests inject."""

import json
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from hospintel_core.errors import CoreError

if TYPE_CHECKING:
    from hub_double import HubDouble


@dataclass(frozen=True)
class Seen:
    """A request that arrived."""

    method: str
    path: str
    at: float
    headers: dict[str, str]
    size: int


class RefusedError(Exception):
    """Answered as {"code", "detail"}."""

    def __init__(self, status: int, code: str, detail: str = "No.", **extra: Any) -> None:
        super().__init__(code)
        self.status = status
        self.body = {"code": code, "detail": detail, **extra}


Fault = Callable[["Handler"], bool]
Body = bytes | dict[str, Any] | None
Reply = tuple[int, Body] | tuple[int, Body, dict[str, str]]


class Server(ThreadingHTTPServer):
    """Remembers its connections, so that the hub can vanish with all of them."""

    hub: "HubDouble"
    daemon_threads = False

    def __init__(self, *args: Any) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(*args)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Broken connections are this hub's business, not the test's output."""

    def cut_all(self) -> None:
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    # Else the kernel keeps each answer's body back until the client acknowledges the header: 40 ms a call.
    disable_nagle_algorithm = True
    server: Server

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The hub's own clock, which need not be this machine's."""
        return super().date_time_string(round(self.server.hub.now_ms() / 1000))

    def _serve(self) -> None:
        hub = self.server.hub
        size = int(self.headers.get("Content-Length", 0))
        self.unread = size
        headers = {name.lower(): value for name, value in self.headers.items()}
        with hub.changed:
            hub.seen.append(Seen(self.command, self.path, time.monotonic(), headers, size))
            hub.changed.notify_all()
            found = next((one for one in hub.faults if one[0] == self.command and one[1] in self.path), None)
            if found:
                hub.faults.remove(found)
        if found is None or not found[2](self):
            self.send(*self.find_answer())

    do_GET = do_POST = do_PUT = _serve  # noqa: N815

    def read_body(self, limit: int | None = None) -> bytes:
        wanted = self.unread if limit is None else min(limit, self.unread)
        body = self.rfile.read(wanted)
        if len(body) < wanted:
            # A server never shows its application half a request.
            raise ConnectionError
        self.unread -= len(body)
        return body

    def cut(self) -> None:
        """Break the connection."""
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def send(
        self, status: int, body: bytes | dict[str, Any] | None = None, headers: dict[str, str] | None = None
    ) -> None:
        self.read_body()
        data = json.dumps(body).encode() if isinstance(body, dict) else body or b""
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def find_answer(self) -> Reply:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        path = parts.path.strip("/").split("/")
        try:
            return self._for_everyone(path) or self._for_agents(path, query)
        except RefusedError as refused:
            return refused.status, refused.body
        except CoreError as error:
            return 400, {"code": "bad_request", "detail": str(error)}

    def _for_everyone(self, path: list[str]) -> Reply | None:
        hub = self.server.hub
        match path:
            case ["healthz"]:
                return 200, {"status": "ok"}
            case ["api", "v1", "federations", "brain-mri", "status"]:
                return 200, {"model": hub.current, "architecture": hub.architecture.name}
            case ["api", "v1", "identity"]:
                return 200, {"chain": [link.to_wire() for link in hub.chain]}
            case ["api", "v1", "agents", "enrol"]:
                with hub.changed:
                    return 201, hub.enrol(json.loads(self.read_body()))
        return None

    def _for_agents(self, path: list[str], query: dict[str, str]) -> Reply:
        hub, agent = self.server.hub, self._agent()
        match path:
            case ["api", "v1", "federations", "brain-mri", "task"]:
                found = hub.task(float(query["wait"]))
                return (204, None, {"Retry-After": "1"}) if found is None else (200, found.to_wire())
            case ["api", "v1", "models", digest]:
                return self._model(digest)
            case ["api", "v1", "rounds", round_id, "update"] if self.command == "PUT":
                body = self.read_body()
                headers = {name.lower(): value for name, value in self.headers.items()}
                with hub.changed:
                    return hub.put(hub.find(round_id), agent[1], headers, int(query["offset"]), body)
            case ["api", "v1", "rounds", round_id, "update"]:
                with hub.changed:
                    return 200, hub.update_status(hub.find(round_id), query.get("digest", ""))
            case ["api", "v1", "rounds", round_id, "report"]:
                body = self.read_body()
                with hub.changed:
                    return 200, hub.report(hub.find(round_id), agent, json.loads(body))
            case ["api", "v1", "federations", "brain-mri", "checkpoint"]:
                return hub.witnessed(json.loads(self.read_body())["kept"])
        raise RefusedError(404, "federation_unknown", "This agent takes part in no federation of that name.")

    def _agent(self) -> tuple[uuid.UUID, bytes]:
        hub = self.server.hub
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in hub.agents:
            raise RefusedError(401, "token_invalid", "This token is not known here.")
        if token in hub.revoked:
            raise RefusedError(403, "agent_revoked", "This agent has been revoked by the hub's admin.")
        return hub.agents[token]

    def _model(self, digest: str) -> Reply:
        data = self.server.hub.models.get(digest)
        if data is None:
            raise RefusedError(404, "model_unknown", "There is no such model.")
        wanted = self.headers.get("Range", "")
        if wanted and self.headers.get("If-Range") == f'"{digest}"':
            first = int(wanted.removeprefix("bytes=").rstrip("-"))
            if first >= len(data):
                return 416, b"", {"Content-Range": f"bytes */{len(data)}"}
            return 206, data[first:], {"Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}"}
        return 200, data, {"ETag": f'"{digest}"'}


# -- faults for HubDouble.inject -----------------------------------------------------------------------------------


def busy(status: int = 503, retry_after: str | None = None) -> Fault:
    """Answer "not now"."""
    headers = {} if retry_after is None else {"Retry-After": retry_after}

    def fault(handler: Handler) -> bool:
        handler.send(status, b"<html>busy</html>", headers)
        return True

    return fault


def answer(status: int, body: bytes | dict[str, Any], headers: dict[str, str] | None = None) -> Fault:
    """Answer something of the test's own."""

    def fault(handler: Handler) -> bool:
        handler.send(status, body, headers)
        return True

    return fault


def redirect(to: str) -> Fault:
    """Answer with a redirect, as login pages of proxies do."""
    return answer(302, b"", {"Location": to})


def cut_upload(after: int) -> Fault:
    """Break the connection after so many bytes of the request's body; nothing of it counts."""

    def fault(handler: Handler) -> bool:
        handler.read_body(after)
        handler.cut()
        return True

    return fault


def cut_answer(after: int) -> Fault:
    """Do what was asked, then break the connection after so many bytes of the answer's body."""

    def fault(handler: Handler) -> bool:
        status, body, *rest = handler.find_answer()
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        handler.send_response(status)
        for name, value in (rest[0] if rest else {}).items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[:after])
        handler.wfile.flush()
        handler.cut()
        return True

    return fault
