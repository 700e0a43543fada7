"""A hospital's proxy: it tunnels CONNECT to one address whatever name was asked for, or answers `refuse`.

With `login` it takes nobody else. With `inspect` it ends the TLS of both sides and reads along, with a certificate of
its own CA.
"""

import base64
import select
import socket
import ssl
import threading
from contextlib import suppress

from certificates import Certificates


class ProxyDouble:
    """Listens on loopback; `asked` lists the names that CONNECT named."""

    def __init__(self, target: int, *, refuse: str = "", login: str = "", inspect: Certificates | None = None) -> None:
        self._target = target
        self._login = login and f"proxy-authorization: basic {base64.b64encode(login.encode()).decode()}"
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
        with suppress(OSError, ValueError):  # select says ValueError of a socket that is closed
            head = client.recv(65536).decode()
            self.asked.append(head.split()[1])
            # The name of a header and of its scheme may be of any case, what follows may not.
            strangers = self._login and not any(_same_login(line, self._login) for line in head.splitlines())
            refuse = "407 Proxy Authentication Required" if strangers else self._refuse
            if refuse:
                client.sendall(f"HTTP/1.1 {refuse}\r\nContent-Length: 0\r\n\r\n".encode())
                client.shutdown(socket.SHUT_RDWR)
                return
            hub = socket.create_connection(("127.0.0.1", self._target))
            self._sockets.append(hub)
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            if self.inspect:
                both = self._unwrapped(client, hub, self.inspect)
                self._read_along(*both)
                for one in both:
                    one.shutdown(socket.SHUT_RDWR)
                return
            self._start(_pump, hub, client)
            _pump(client, hub)

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

    def _read_along(self, client: ssl.SSLSocket, hub: ssl.SSLSocket) -> None:
        """Pass everything on, in one thread: no two may use one TLS connection at once."""
        other = {client: hub, hub: client}
        while True:
            ready = [one for one in other if one.pending()] or select.select(list(other), [], [])[0]
            for one in ready:
                one.settimeout(0)
                try:
                    data = one.recv(65536)
                except ssl.SSLWantReadError:
                    continue
                finally:
                    one.settimeout(None)
                if not data:
                    return
                self.read.append(data)
                other[one].sendall(data)


def _same_login(line: str, wanted: str) -> bool:
    return line.lower() == wanted.lower() and line.rsplit(maxsplit=1)[-1] == wanted.rsplit(maxsplit=1)[-1]


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
