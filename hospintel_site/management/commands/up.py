"""manage.py up."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.checks import Tags
from django.core.management.base import BaseCommand
from django.db import connections

from apps.accounts.pipeline import FIRST_ADMIN_MINUTES, issue_first_admin_link
from apps.federation.addresses import way_by_settings
from apps.federation.pipeline import keys
from hospintel_core import signing
from hospintel_core.errors import CoreError
from hospintel_site import logs, ports
from hospintel_site.lock import FolderInUse, hold
from hospintel_site.management.commands.prepare import prepare
from hospintel_site.running import announced
from hospintel_site.supervisor import Supervisor, answers, children, say

EXIT_PORT_BUSY = 3
EXIT_ALREADY_UP = 4


class Stop(Exception):  # noqa: N818 - the name says it
    """Why the hub does not start, what to do, and the exit code."""

    def __init__(self, error: str, hint: str = "", code: int = 1) -> None:
        super().__init__(error)
        self.error, self.hint, self.code = error, hint, code


class Command(BaseCommand):
    """Prepares the hub and runs all its processes."""

    help = (
        "Start the hub: web server, tick loop and workers, until Ctrl-C. Exit codes: 3 port in use, 4 already running."
    )
    requires_system_checks: list[str] = []  # checked in handle(), with the address of the command line

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--bind", default=settings.BIND, help="address to listen on (HOSPINTEL_BIND)")
        parser.add_argument("--port", type=int, default=settings.PORT, help="0 takes a free one (HOSPINTEL_PORT)")

    def handle(self, *_args: Any, **options: Any) -> None:
        try:
            self._up(options)
        except Stop as stop:
            self.stderr.write(f"error: {stop.error}")
            if stop.hint:
                self.stderr.write(f"hint: {stop.hint}")
            sys.exit(stop.code)

    def _up(self, options: dict[str, Any]) -> None:
        bind = "127.0.0.1" if options["bind"] == "localhost" else options["bind"]
        settings.BIND = bind
        # What the operator has set. What the code itself says (addresses, models) is asked by `make lint`.
        self.check(tags=[Tags.security])
        settings.PORT = port = self._port(bind, options["port"])
        way = way_by_settings()
        try:
            with hold(settings.VAR), announced(settings.VAR, address=way.address, ca=way.ca):
                self._serve(bind, port)
        except FolderInUse as error:
            raise Stop(
                f"Process {error.pid} already runs a hub on {settings.VAR}.",
                "Stop it, or set HOSPINTEL_VAR to another folder.",
                EXIT_ALREADY_UP,
            ) from None

    def _serve(self, bind: str, port: int) -> None:
        try:
            prepare()
        except CoreError as error:
            raise Stop(error.detail, error.hint) from error
        fingerprint = signing.fingerprint(keys.identity_public())
        # A log of events goes to a collector, where many read it.
        token = issue_first_admin_link() if settings.LOG_FORMAT == logs.LINE else None
        connections.close_all()
        scheme = "https" if settings.TLS_CERT else "http"
        address = f"{scheme}://{_shown(bind)}:{port}"

        def ready() -> None:
            say(f"ready {address}/")
            say(f"The hub's fingerprint: {fingerprint}")
            if token is not None:
                say(f"Nobody has an account yet. Make the first administrator within {FIRST_ADMIN_MINUTES} minutes:")
                say(f"  {address}/first-admin/#{token}")

        def healthy() -> bool:
            return answers(
                _dialled(bind), port, host=settings.ALLOWED_HOSTS[0].lstrip("."), tls=bool(settings.TLS_CERT)
            )

        environment = {"HOSPINTEL_BIND": bind, "HOSPINTEL_PORT": str(port)}
        code = Supervisor(children(), environment, healthy=healthy, on_ready=ready).run()
        if code:
            sys.exit(code)  # the supervisor has said why

    def _port(self, bind: str, port: int) -> int:
        try:
            if port == 0:
                return ports.any_free(bind)
            if ports.is_free(bind, port):
                return port
        except OSError as error:
            raise Stop(f"Cannot listen on {bind}: {error.strerror}.", "Name an address of this machine.") from error
        raise Stop(ports.in_use(port), "Stop it, or choose another port with --port.", EXIT_PORT_BUSY)


def _shown(bind: str) -> str:
    if bind in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
        return "localhost"
    return f"[{bind}]" if ":" in bind else bind


def _dialled(bind: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bind, bind)  # noqa: S104 - as above
