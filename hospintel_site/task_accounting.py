"""What is said of each task: its id in every event, its line in the log, its place in the metrics."""

import logging
import threading
from contextlib import ExitStack
from time import perf_counter
from typing import Any

from celery import signals
from django.db import close_old_connections

from hospintel_site import logs

logger = logging.getLogger(logs.TASKS)
FLUSH_SECONDS = 10.0


class _Running:
    """The task that this process does now: a process of a worker does one at a time."""

    started = 0.0
    about = ExitStack()


def connect() -> None:
    """Have Celery tell us of its tasks, in the processes that do them."""
    signals.task_prerun.connect(_begin, weak=False, dispatch_uid="accounting.begin")
    signals.task_postrun.connect(_end, weak=False, dispatch_uid="accounting.end")
    signals.worker_process_init.connect(_start_flushing, weak=False, dispatch_uid="accounting.flush")
    signals.worker_process_shutdown.connect(_flush, weak=False, dispatch_uid="accounting.last")


def name_of(task: str, arguments: dict[str, Any]) -> str:
    """Return under what name a task is counted: steps of a round apart, by the name of the step."""
    return f"{task}.{arguments['name']}" if task == "federation.step" and "name" in arguments else task


def _begin(task_id: str, **_: Any) -> None:
    _Running.started = perf_counter()
    _Running.about.enter_context(logs.about(task=task_id))


def _end(task: Any, state: str | None = None, kwargs: dict[str, Any] | None = None, **_: Any) -> None:
    from hospintel_site import timings  # noqa: PLC0415 - needs the models, which are there once a task is

    seconds = perf_counter() - _Running.started
    name, outcome = name_of(task.name, kwargs or {}), "ok" if state == "SUCCESS" else (state or "failure").lower()
    timings.note("task", name, outcome, seconds)
    fields = {"name": name, "outcome": outcome, "seconds": round(seconds, 4)}
    logger.info("%s %s", name, outcome, extra={"fields": fields})
    _Running.about.close()


def _start_flushing(**_: Any) -> None:
    def loop() -> None:
        pause = threading.Event()
        while not pause.wait(FLUSH_SECONDS):
            _flush()

    threading.Thread(target=loop, name="timings", daemon=True).start()


def _flush(**_: Any) -> None:
    from hospintel_site import timings  # noqa: PLC0415 - as above

    timings.flush()
    close_old_connections()
