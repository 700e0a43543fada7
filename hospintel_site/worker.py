"""One Celery worker: `python -m hospintel_site.worker default|training`."""

import logging.config
import os
import sys
import warnings
from functools import partial
from typing import Any

import celery.apps.worker
from billiard.pool import RUN
from celery.bootsteps import StartStopStep
from celery.exceptions import SecurityWarning
from celery.signals import setup_logging
from django.conf import settings
from django.db import connections

from hospintel_site import logs, task_accounting
from hospintel_site.celery import app
from hospintel_site.lifetime import end_with_supervisor
from hospintel_site.memory import give_back

logger = logging.getLogger(__name__)
# Else Celery has Django look at every address, for which all of the web must be loaded, and drops what it finds.
os.environ["CELERY_SKIP_CHECKS"] = "1"
# Training takes every core and gigabytes; one at a time. The others are short.
CONCURRENCY = {"default": 2, "training": 1}


def life_of(queue: str) -> type[StartStopStep]:
    """Return the step of a worker's start that gives signs of life, from the loop in which it takes messages."""

    class Life(StartStopStep):
        """With a broker that is away the loop stands still, and with it the signs of life."""

        requires = ("celery.worker.components:Timer", "celery.worker.components:Pool")

        def __init__(self, worker: Any, **options: Any) -> None:
            super().__init__(worker, **options)
            from hospintel_site.processes import BEAT_SECONDS, Beating  # noqa: PLC0415 - needs the models

            self._beating, self._every = Beating(queue), BEAT_SECONDS
            self._timer: Any = None

        def start(self, worker: Any) -> None:
            self._beat()
            self._timer = worker.timer.call_repeatedly(self._every, self._beat)

        def stop(self, worker: Any) -> None:  # noqa: ARG002 - Celery's signature
            if self._timer is not None:
                self._timer.cancel()
            self._beating.leave()
            _let_go()

        def _beat(self) -> None:
            self._beating.beat()
            _let_go()

    return Life


class Whole(StartStopStep):
    """Ends a worker one of whose processes was killed: whoever looks after it starts it anew, whole.

    Without an event loop (the folder broker has none) the processes of a pool take their tasks in turn, under a lock
    that the kernel does not free when its holder is killed: the others and its successor would wait for ever. What was
    being done is found by the tick.
    """

    requires = ("celery.worker.components:Pool",)

    def start(self, worker: Any) -> None:
        """Look at each process that ends."""
        pool = worker.pool._pool  # noqa: SLF001 - Celery hands no hook through
        # The pool of the event loop has a pipe for each process, and a hook of its own.
        if pool.on_process_down is None:
            pool.on_process_down = partial(_end_if_killed, pool)


def _end_if_killed(pool: Any, process: Any) -> None:
    if pool._state == RUN and (process.exitcode or 0) < 0:  # noqa: SLF001 - as above
        logger.error("Process %d was killed (%d); the worker ends, to be started anew", process.pid, process.exitcode)
        # Not by an exception: this is a thread of the pool's, and what is in order cannot be told any more.
        os._exit(os.EX_SOFTWARE)


def _log_events(queue: str) -> None:
    logs.take_over(queue)
    # Without a receiver Celery sets up a log of its own.
    setup_logging.connect(lambda **_: logging.config.dictConfig(settings.LOGGING), weak=False)
    # What Celery says on its way out goes past every log, to a stream that it has got hold of.
    celery.apps.worker.safe_say = lambda text, *_: logging.getLogger(logs.OUTPUT).warning("%s", text)  # type: ignore[attr-defined]


def _let_go() -> None:
    """Close the connections: processes that are forked later must not find them open."""
    for connection in connections.all(initialized_only=True):
        connection.close()
        if hasattr(connection, "close_pool"):
            connection.close_pool()


def main() -> None:
    """Work on one queue until SIGTERM, which lets the running task end."""
    os.umask(0o077)
    end_with_supervisor()
    give_back()
    queue = sys.argv[1] if len(sys.argv) > 1 else ""
    if queue not in CONCURRENCY:
        sys.exit(f"error: there is no queue {queue!r}; choose one of {', '.join(CONCURRENCY)}.")
    # Said for the sake of object formats that run code when read; ours is JSON alone.
    warnings.simplefilter("ignore", SecurityWarning)
    app.steps["worker"].add(life_of(queue))
    app.steps["worker"].add(Whole)
    task_accounting.connect()
    if settings.LOG_FORMAT == logs.JSON:
        _log_events(queue)
    # Prefork: a solo pool would lose its task when it is stopped. TensorFlow is imported inside tasks alone: once it
    # has worked, it does not survive a fork.
    app.worker_main(
        [
            "--quiet",
            "worker",
            f"--queues={queue}",
            f"--hostname={queue}@%h",
            "--pool=prefork",
            f"--concurrency={CONCURRENCY[queue]}",
            "--loglevel=WARNING",
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
        ]
    )


if __name__ == "__main__":
    main()
