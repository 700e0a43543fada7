"""The web server: Daphne with limits on requests and connections, back-pressure on downloads, and TLS.

Daphne alone spools a body of any size to a temporary file before the application sees the request, and waits for it as
long as a byte comes now and then. Here a body over the cap of its path (limits.py) is refused by its Content-Length, or
while it is received, and a request that is not here in time is given up.

Run as `python -m hospintel_site.server [--bind ADDRESS] [--port PORT]`; `manage.py up` does.
"""

# Daphne chooses Twisted's reactor, so it comes before everything that imports Twisted.
from daphne.server import Server  # isort: skip

import argparse
import asyncio
import json
import logging
import os
import ssl
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any

from cryptography import x509
from daphne.http_protocol import HTTPFactory, WebRequest
from OpenSSL import crypto
from twisted.internet import defer, reactor
from twisted.internet.error import CannotListenError
from twisted.internet.ssl import CertificateOptions
from twisted.logger import STDLibLogObserver, globalLogBeginner
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.web.http import datetimeToString

from hospintel_site.bodies import FULL_CODE, FULL_DETAIL, KEY, drop, piecewise, room
from hospintel_site.connections import LimitedFactory
from hospintel_site.lifetime import end_with_supervisor
from hospintel_site.limits import DEFAULT, IN_MEMORY, LARGE_BYTES, MOST_CONNECTIONS, MOST_LARGE, limit_for
from hospintel_site.memory import give_back
from hospintel_site.sockets import SOCKET_LIMITS, HubSocketFactory

logger = logging.getLogger(__name__)

# How long we read on, and throw away, after a refusal: a connection closed with unread data is reset, and the caller
# would see that instead of the 413.
LINGER_SECONDS = 2.0
# Is told the code and the caller's address of a request that was refused here.
OnRefusal = Callable[[str, str], object]


class HubRequest(WebRequest):  # type: ignore[misc]
    """A request whose body never grows over the cap of its path, and is here in the time that its path gives it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Twisted would parse forms into memory although Django does so again.
        super().__init__(*args, parsePOSTFormSubmission=False, **kwargs)
        self._cap = 0
        self._received = 0
        self._refused = False
        self._lingering: Any = None
        self._large: set[HubRequest] = self.channel.factory.large
        self._body: Any = None
        self._deadline = self._call_in(DEFAULT.seconds(0))
        self._may_write = asyncio.Event()
        self._may_write.set()

    # --- Receiving: Twisted's callbacks ------------------------------------------------------------------------------

    def gotLength(self, length: int | None) -> None:  # noqa: N802 - Twisted's name
        """Take the headers' word for the body's length; None means chunked, measured while it arrives."""
        uri: bytes = self.channel._path  # noqa: SLF001 - Request.path is set only after the body
        path = uri.partition(b"?")[0].decode("ascii", "replace")
        asked = self.requestHeaders.hasHeader
        limit = limit_for(path, authorization=asked(b"Authorization"), cookie=asked(b"Cookie"))
        self._cap = limit.most_bytes
        _cancel(self._deadline)
        if length is not None and length > self._cap:
            self._refuse_size()
        elif (self._cap if length is None else length) > LARGE_BYTES and not self._one_of_the_large():
            detail = "The hub is receiving other large files. Try again in a moment."
            self._refuse(b"503 Service Unavailable", "hub_busy", detail)
        else:
            self._deadline = self._call_in(limit.seconds(length))
            small = length is not None and length <= IN_MEMORY
            self.content = BytesIO() if small else SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 - lives on

    def _one_of_the_large(self) -> bool:
        """Take a place among the large bodies, if one is free; it is given back when the request has ended."""
        if len(self._large) >= MOST_LARGE:
            return False
        self._large.add(self)
        return True

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Keep a piece of the body, unless the whole has become too long."""
        if self._refused:
            return
        self._received += len(data)
        if self._received > self._cap:
            self._refuse_size()
        else:
            with room(self._refuse_full):
                self.content.write(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:  # noqa: N802 - Twisted's name
        """Hand the complete request on; a refused one has been answered."""
        _cancel(self._deadline)
        if not self._refused:
            with room(self._refuse_full):
                self.content.seek(0)  # writes what is still in the file's buffer
        if not self._refused:
            super().requestReceived(command, path, version)

    def connectionLost(self, reason: Any) -> None:  # noqa: N802 - Twisted's name
        """Let nobody wait for this connection any more."""
        _cancel(self._deadline)
        _cancel(self._lingering)
        self._may_write.set()
        self._let_go()
        super().connectionLost(reason)

    def finish(self) -> None:
        """End the request: the answer is out."""
        self._let_go()
        super().finish()

    def take_body(self) -> Any:
        """Return the body if it does not lie in memory; to Daphne, which would read all of it, it is empty then."""
        if not isinstance(self.content, BytesIO):
            self._body, self.content = self.content, BytesIO()
        return self._body

    def _let_go(self) -> None:
        self._large.discard(self)
        if self._body is not None:
            self._body.close()

    def _call_in(self, seconds: float) -> Any:
        return reactor.callLater(seconds * self.channel.factory.patience, self._refuse_pace)

    def _refuse_size(self) -> None:
        self._refuse(b"413 Content Too Large", "body_too_large", f"The request body is larger than {self._cap} bytes.")

    def _refuse_pace(self) -> None:
        self._refuse(b"408 Request Timeout", "request_too_slow", "The request took too long to arrive.")

    def _refuse_full(self) -> None:
        self._refuse(b"507 Insufficient Storage", FULL_CODE, FULL_DETAIL)

    def _refuse(self, status: bytes, code: str, detail: str) -> None:
        self._refused = True
        self._large.discard(self)
        self.channel.factory.on_refusal(code, str(getattr(self.channel.transport.getPeer(), "host", "")))
        _cancel(self._deadline)
        drop(self.content)
        self.content = BytesIO()
        # Else Twisted would send "100 Continue" after our answer.
        self.requestHeaders.removeHeader(b"Expect")
        body = json.dumps({"code": code, "detail": detail}).encode()
        self.channel.transport.write(
            b"HTTP/1.1 %b\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (status, len(body), body)
        )
        self.channel.persistent = False
        self.channel.setTimeout(None)
        self.channel.dataReceived = lambda _data: None
        if not self.isSecure():  # TLS has no half-close: there the length says where the answer ends
            self.channel.transport.loseWriteConnection()
        self._lingering = reactor.callLater(LINGER_SECONDS, self.channel.transport.abortConnection)

    # --- Answering ---------------------------------------------------------------------------------------------------

    def handle_reply(self, message: dict[str, Any]) -> None:
        """Write a part of the answer, and listen to the connection's back-pressure meanwhile."""
        if self.finished or self.channel is None:
            return
        if message["type"] == "http.response.start":
            self.registerProducer(self, True)  # noqa: FBT003 - Twisted's signature
        elif not message.get("more_body", False):
            self.unregisterProducer()
        super().handle_reply(message)

    def handle_exception(self, exception: Exception) -> None:
        """Answer 500; where half an answer is out already, cut the connection, so that nobody takes it for a whole one.

        Daphne's own version raises then, which ends the loop that cleans up after every request.
        """
        if not self._response_started:
            super().handle_exception(exception)
        elif self.channel is not None:
            self.channel.transport.abortConnection()

    async def drained(self) -> None:
        """Wait until the connection takes more: else a slow reader's download would pile up in memory."""
        await self._may_write.wait()

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        """Stop writing: the connection's buffer is full."""
        self._may_write.clear()

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        """Go on writing."""
        self._may_write.set()

    def stopProducing(self) -> None:  # noqa: N802 - Twisted's name
        """Give up: the connection is gone."""
        self._may_write.set()


def _cancel(call: Any) -> None:
    if call is not None and call.active():
        call.cancel()


class HubFactory(HTTPFactory):  # type: ignore[misc]
    """Builds connections that speak HTTP/1.1 and use HubRequest."""

    def __init__(self, server: "HubServer", *, patience: float, on_refusal: OnRefusal) -> None:
        super().__init__(server)
        self.patience = patience
        self.on_refusal = on_refusal
        self.large: set[HubRequest] = set()

    def buildProtocol(self, addr: Any) -> Any:  # noqa: N802 - Twisted's name
        """Build the protocol of one connection."""
        protocol = super().buildProtocol(addr)
        protocol.requestFactory = HubRequest
        return protocol

    def acceptableProtocols(self) -> list[bytes]:  # noqa: N802 - Twisted's name
        """Offer HTTP/1.1 alone: the caps are made for it."""
        return [b"http/1.1"]

    def log(self, request: Any) -> None:
        """Write no access log: the audit has what matters."""


class HubServer(Server):  # type: ignore[misc]
    """Daphne's server with our connections, our TLS, and an exit code."""

    def __init__(
        self,
        application: Any,
        *,
        bind: str,
        port: int,
        tls: CertificateOptions | None,
        proxy: bool,
        most_connections: int = MOST_CONNECTIONS,
        patience: float = 1.0,
        on_refusal: OnRefusal = lambda _code, _address: None,
    ) -> None:
        """Prepare it.

        Args:
            application: the ASGI application.
            bind: the address to listen on.
            port: the port to listen on.
            tls: with it the server speaks TLS alone.
            proxy: whether a proxy says in its headers where calls come from.
            most_connections: how many of one address may be open; not counted behind a proxy, where all are of one.
            patience: a factor on the time that requests have to arrive.
            on_refusal: is told of each request that is refused before the application sees it.

        """
        super().__init__(
            piecewise(application),
            endpoints=[bind],
            request_buffer_size=64 * 1024,
            proxy_forwarded_address_header="X-Real-IP" if proxy else None,
            proxy_forwarded_proto_header="X-Forwarded-Proto" if proxy else None,
            **SOCKET_LIMITS,
            server_name="hospintel",
        )
        self._bind, self._port, self._tls = bind, port, tls
        self._most_connections = None if proxy else most_connections
        self._patience, self._on_refusal = patience, on_refusal

    def run(self) -> None:
        """Serve until a signal. Raises CannotListenError if the address cannot be had."""
        self.connections: dict[Any, dict[str, Any]] = {}
        self.http_factory = HubFactory(self, patience=self._patience, on_refusal=self._on_refusal)
        self.ws_factory = HubSocketFactory(self, server=self.server_name)
        self.ws_factory.setProtocolOptions(
            autoPingTimeout=self.ping_timeout,
            allowNullOrigin=True,  # the application checks the origin
            openHandshakeTimeout=self.websocket_handshake_timeout,
            maxMessagePayloadSize=self.websocket_max_message_size,
            maxFramePayloadSize=self.websocket_max_frame_size,
        )
        globalLogBeginner.beginLoggingTo([STDLibLogObserver("twisted")], redirectStandardIO=False, discardBuffer=True)
        reactor.callLater(1, self.application_checker)
        reactor.callLater(2, self.timeout_checker)
        factory: Any = self.http_factory
        if self._tls is not None:
            factory = TLSMemoryBIOFactory(self._tls, False, factory)  # noqa: FBT003 - Twisted's signature
        if self._most_connections is not None:
            # Outside TLS: a handshake that is never finished counts too.
            factory = LimitedFactory(factory, self._most_connections)
        reactor.listenTCP(self._port, factory, interface=self._bind, backlog=512)
        asyncio.set_event_loop(reactor._asyncioEventloop)  # noqa: SLF001 - as Daphne does
        reactor.addSystemEventTrigger("before", "shutdown", self.kill_all_applications)
        reactor.run()

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> Any:
        """Start the application for a request or a socket."""
        body = protocol.take_body() if isinstance(protocol, HubRequest) else None
        return super().create_application(protocol, scope if body is None else {**scope, KEY: body})

    async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        """Pass a message of the application on, then wait until the connection can take the next."""
        await super().handle_reply(protocol, message)
        if isinstance(protocol, HubRequest):
            if message["type"] == "http.response.start" and not protocol.responseHeaders.hasHeader("date"):
                # RFC 9110 6.6.1. Agents read it to find out whether their clock is off.
                protocol.setHeader(b"date", datetimeToString())
            await protocol.drained()

    def kill_all_applications(self) -> Any:
        """Cancel what still runs; Daphne's own version fails on connections between two requests."""
        running = [one for details in self.connections.values() if (one := details.get("application_instance"))]
        for instance in running:
            instance.cancel()
        ended = defer.Deferred.fromFuture(asyncio.gather(*running, return_exceptions=True))
        ended.addErrback(lambda _failure: None)
        return ended


def tls_options(cert: Path, key: Path) -> CertificateOptions:
    """Return the TLS options of a server: at least TLS 1.2, with the intermediate certificates that `cert` also holds.

    Raises OSError or ValueError if one of the files cannot be read as PEM.
    """
    chain = [crypto.X509.from_cryptography(found) for found in x509.load_pem_x509_certificates(cert.read_bytes())]
    try:
        private = crypto.load_privatekey(crypto.FILETYPE_PEM, key.read_bytes())
        # Fails here, with a sentence, if the key belongs to another certificate.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
    except (crypto.Error, ssl.SSLError) as error:
        raise ValueError(f"{key} is not the private key of {cert}.") from error
    return CertificateOptions(
        privateKey=private, certificate=chain[0], extraCertChain=chain[1:], acceptableProtocols=[b"http/1.1"]
    )


def main() -> None:
    """Serve the hub until SIGINT or SIGTERM."""
    os.umask(0o077)
    end_with_supervisor()
    give_back()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hospintel_site.settings")
    # Imported late: they load Django, which needs the settings named.
    from django.conf import settings  # noqa: PLC0415
    from django.urls import get_resolver  # noqa: PLC0415

    from hospintel_site.asgi import application  # noqa: PLC0415

    # They need the applications that asgi loads.
    from apps.audit.denials import count_unknown, start_flusher  # isort: skip  # noqa: PLC0415
    from hospintel_site import accounting, logs, processes, timings  # isort: skip  # noqa: PLC0415

    if settings.LOG_FORMAT == logs.JSON:
        logs.take_over("web")

    parser = argparse.ArgumentParser(prog="python -m hospintel_site.server")
    parser.add_argument("--bind", default=settings.BIND)
    parser.add_argument("--port", type=int, default=settings.PORT)
    options = parser.parse_args()

    def refused(code: str, address: str) -> None:
        count_unknown("request.body", code, address)
        accounting.note_unread(code)

    # Every page's code is loaded now: the first request is as quick as the others, and a broken page stops the start.
    get_resolver().url_patterns  # noqa: B018
    try:
        tls = tls_options(settings.TLS_CERT, settings.TLS_KEY) if settings.TLS_CERT and settings.TLS_KEY else None
        server = HubServer(
            application,
            bind="127.0.0.1" if options.bind == "localhost" else options.bind,
            port=options.port,
            tls=tls,
            proxy=settings.BEHIND_PROXY,
            on_refusal=refused,
        )
        finish = start_flusher(on_error=lambda error: logger.error("Refused calls could not be written: %s", error))
        finish_beating = processes.start_beating("web", also=timings.flush)
        server.run()
        finish_beating()
        finish()
    except (OSError, ValueError, CannotListenError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
