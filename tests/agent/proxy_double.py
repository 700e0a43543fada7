"""A hospital's proxy: it tunnels CONNECT to one address whatever name was asked for, or wants a password."""

import socket
import threading
from contextlib import suppress


class ProxyDouble:
    """Listens on loopback; `asked` lists the names that CONNECT named."""

    def __init__(self, target: int, *, refuse: bool = False) -> None:
        self._target = target
        self._refuse = refuse
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = [self._listener]
        self._threads = [threading.Thread(target=self._accept)]
        self.asked: list[str] = []
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
            self._start(_pump, hub, client)
            _pump(client, hub)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
