"""A hospital's proxy: it tunnels CONNECT to one address whatever name was asked for, or wants a password.

With `inspect` it ends the TLS of both sides and reads along, with a certificate of its own CA.
"""

import socket
import ssl
import threading
from contextlib import suppress

from certificates import Certificates


class ProxyDouble:
    """Listens on loopback; `asked` lists the names that CONNECT named."""

    def __init__(self, target: int, *, refuse: bool = False, inspect: Certificates | None = None) -> None:
        self._target = target
        self.inspect = inspect
        self._refuse = refuse
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = [self._listener]
        self._threads = [threading.Thread(target=self._accept)]
        self.asked: list[str] = []
        self.read: list[bytes] = []
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def stop(self) -> None:
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for one in self._sockets:
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(client)
            self._start(self._serve, client)

    def _start(self, work: object, *arguments: socket.socket) -> None:
        thread = threading.Thread(target=work, args=arguments)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError):
            head = client.recv(65536).decode()
            self.asked.append(head.split()[1])
            if self._refuse:
                client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
                client.shutdown(socket.SHUT_RDWR)
                return
            hub = socket.create_connection(("127.0.0.1", self._target))
            self._sockets.append(hub)
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            if self.inspect:
                client, hub = self._unwrapped(client, hub, self.inspect)
            self._start(self._pump, hub, client)
            self._pump(client, hub)

    def _unwrapped(
        self, client: socket.socket, hub: socket.socket, own: Certificates
    ) -> tuple[ssl.SSLSocket, ssl.SSLSocket]:
        """Both connections in the clear."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(own.certificate, own.key)
        to_hub = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        to_hub.check_hostname, to_hub.verify_mode = False, ssl.CERT_NONE
        unwrapped = context.wrap_socket(client, server_side=True), to_hub.wrap_socket(hub)
        self._sockets += unwrapped
        return unwrapped

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if self.inspect:
                    self.read.append(data)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
