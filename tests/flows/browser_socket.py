"""A browser's WebSocket (RFC 6455), as far as the hub speaks it: text, ping, close. Nothing between it and the wire."""

import base64
import json
import os
import socket
import struct
import time
from typing import Any

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


class RefusedError(Exception):
    """The hub did not open the socket; its status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class BrowserSocket:
    """An open socket to `/ws/events/`."""

    def __init__(self, port: int, cookie: str = "", origin: str | None = "ours", host: str = "127.0.0.1") -> None:
        """Open it. Raises RefusedError."""
        self._wire = socket.create_connection(("127.0.0.1", port), timeout=120)
        headers = {
            "Host": f"{host}:{port}",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            "Sec-WebSocket-Version": "13",
        }
        if cookie:
            headers["Cookie"] = cookie
        if origin is not None:
            headers["Origin"] = f"http://{host}:{port}" if origin == "ours" else origin
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._wire.sendall(f"GET /ws/events/ HTTP/1.1\r\n{lines}\r\n".encode())
        self._buffer = b""
        while b"\r\n\r\n" not in self._buffer:
            self._fill()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        status = int(head.split()[1])
        if status != 101:
            self._wire.close()
            raise RefusedError(status)
        self.pings = 0

    def _fill(self) -> None:
        chunk = self._wire.recv(65536)
        if not chunk:
            raise ConnectionError("the hub hung up")
        self._buffer += chunk

    def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._fill()
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def _frame(self, seconds: float) -> tuple[int, bytes]:
        self._wire.settimeout(max(0.001, seconds))
        first, second = self._take(2)
        length = second & 0x7F
        if length >= 126:
            length = int.from_bytes(self._take(2 if length == 126 else 8), "big")
        return first & 0x0F, self._take(length)

    def send(self, opcode: int, payload: bytes = b"") -> None:
        """Send one frame, masked as a browser's are."""
        mask = os.urandom(4)
        length = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + struct.pack(">H", len(payload))
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
        self._wire.sendall(bytes([0x80 | opcode]) + length + mask + masked)

    def receive(self, seconds: float) -> list[dict[str, Any]] | int:
        """The next events, or the code with which the hub closed. Raises TimeoutError."""
        until = time.monotonic() + seconds
        while True:
            opcode, payload = self._frame(until - time.monotonic())
            if opcode == PING:
                self.pings += 1
                self.send(PONG, payload)
            elif opcode == CLOSE:
                self._wire.close()
                return int.from_bytes(payload[:2], "big")
            elif opcode == TEXT:
                events: list[dict[str, Any]] = json.loads(payload)["events"]
                return events

    def until_closed(self, seconds: float) -> int:
        """The code with which the hub closes, whatever comes before. Raises TimeoutError."""
        until = time.monotonic() + seconds
        while not isinstance(found := self.receive(until - time.monotonic()), int):
            pass
        return found

    def close(self) -> None:
        """Leave, without a word."""
        self._wire.close()
