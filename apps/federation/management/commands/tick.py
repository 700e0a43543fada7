"""`manage.py tick`: a loop that does what time does. Any number may run."""

import logging
import signal
import threading
from argparse import ArgumentParser
from typing import Any

from django.core.checks import Tags
from django.core.management.base import BaseCommand
from django.db import DatabaseError, close_old_connections

from apps.federation.pipeline import tick
from apps.federation.pipeline.objects import StorageAwayError
from apps.federation.tasks import enqueue
from hospintel_site import database
from hospintel_site.processes import Beating

logger = logging.getLogger(__name__)
HOUSEKEEPING_EVERY = 60


class Command(BaseCommand):
    """Close rounds at their deadlines, re-queue stuck rows, expire what is over."""

    help = "Close rounds at deadlines, re-queue stuck rows, expire codes; loops until it is stopped."
    requires_system_checks = [Tags.security]  # the settings; addresses and pages are the web process' affair

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--interval", type=float, default=1.0, help="seconds between two looks (default 1)")
        parser.add_argument("--once", action="store_true", help="look once and end")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002 - Django's signature
        stop = threading.Event()
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, lambda *_: stop.set())
        if options["once"]:
            self._look(housekeeping=True)
            return
        looks, beating = 0, Beating("tick")
        while not stop.is_set():
            beating.beat()
            self._look(housekeeping=looks % HOUSEKEEPING_EVERY == 0)
            looks += 1
            stop.wait(options["interval"])
        beating.leave()

    def _look(self, *, housekeeping: bool) -> None:
        try:
            enqueue(tick.due())
            tick.sign_checkpoint()
            for chore in tick.CHORES:
                chore()
            if housekeeping:
                tick.housekeeping()
        except DatabaseError as error:
            # What is away is told each second while it lasts: in a line.
            away = database.is_away(error)
            logger.error("The database does not answer; looking again: %s", _line(error), exc_info=not away)  # noqa: TRY400 - as it says
        except StorageAwayError as error:
            logger.error("The storage does not answer; looking again: %s", _line(error))  # noqa: TRY400 - the same
        finally:
            close_old_connections()


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
