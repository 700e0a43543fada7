"""What a proxy does in front of several web processes: each connection goes to the next one that takes it."""

import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from itertools import count


class Balancer:
    """Listens on a port of loopback and passes connections on, byte by byte, in turn."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = list(ports)
        self._turns = count()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True, name="balancer").start()

    def close(self) -> None:
        """Take no more connections."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                caller, _ = self._listener.accept()
                server = self._connect()
                if server is None:
                    caller.close()
                    continue
                threading.Thread(target=_connect_both, args=(caller, server), daemon=True).start()

    def _connect(self) -> socket.socket | None:
        for _ in self._ports:
            port = self._ports[next(self._turns) % len(self._ports)]
            with suppress(OSError):
                return socket.create_connection(("127.0.0.1", port))
        return None


def _connect_both(caller: socket.socket, server: socket.socket) -> None:
    back = threading.Thread(target=_pass_on, args=(server, caller), daemon=True)
    back.start()
    _pass_on(caller, server)
    back.join()
    caller.close()
    server.close()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    # Also where it was cut off: whoever waits at the other end must notice.
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
