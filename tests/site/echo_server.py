"""The hub's web server around a small application: it says how much it received, and streams what is asked for."""

import asyncio
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from hospintel_site.limits import MOST_CONNECTIONS
from hospintel_site.server import HubServer, tls_options

BLOCK = b"x" * (1024 * 1024)
# Longer than Daphne waits by itself.
LATE_SECONDS = 6.0


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await receive()
        if scope["path"] == "/late":
            await asyncio.sleep(LATE_SECONDS)
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"].upper()})
        return
    if scope["path"].startswith("/stream/"):
        await start(send, b"application/octet-stream")
        for _ in range(int(scope["path"].removeprefix("/stream/"))):
            await send({"type": "http.response.body", "body": BLOCK, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return
    if scope["path"].startswith("/break"):
        if scope["path"] == "/break/half":
            await start(send, b"text/plain")
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise RuntimeError(scope["path"])
    received, more = 0, True
    while more:
        message = await receive()
        received += len(message.get("body", b""))
        more = message.get("more_body", False)
    await start(send, b"text/plain")
    await send({"type": "http.response.body", "body": b"%d %s" % (received, scope["client"][0].encode())})


async def start(send: Any, kind: bytes) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"Content-Type", kind)]})


if __name__ == "__main__":
    parser = ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--tls", type=Path, nargs=2)
    parser.add_argument("--proxy", action="store_true")
    parser.add_argument("--most-connections", type=int, default=MOST_CONNECTIONS)
    parser.add_argument("--patience", type=float, default=1.0)
    options = vars(parser.parse_args())
    options["tls"] = tls_options(*options["tls"]) if options["tls"] else None
    HubServer(application, bind="127.0.0.1", **options).run()
