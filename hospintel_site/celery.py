"""Celery: the application, and the one decorator for tasks. A task is a hint: it first claims its row."""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from celery import Celery
from django.conf import settings
from kombu.exceptions import OperationalError

from hospintel_site import broker

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hospintel_site.settings")
logger = logging.getLogger(__name__)

broker.register()
app = Celery("hospintel")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

# Celery 5.7 deprecates a queue at the task: a router asks this table, which hub_task fills.
_queue_of: dict[str, str] = {}


def _route(name: str, *_args: Any, **_kwargs: Any) -> dict[str, str] | None:
    queue = _queue_of.get(name)
    return {"queue": queue} if queue else None


app.conf.task_routes = (_route,)

if not settings.REDIS_URL:
    for _key in ("data_folder_in", "control_folder"):
        Path(settings.CELERY_BROKER_TRANSPORT_OPTIONS[_key]).mkdir(mode=0o700, parents=True, exist_ok=True)


def hub_task(queue: Literal["default", "training"] = "default", **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Declare a task: keyword arguments only, acknowledged when done, given back if its process dies.

    The function must take keyword-only arguments (ids, nothing else), which is checked here, at import.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        code = function.__code__
        if code.co_argcount or code.co_posonlyargcount:
            raise TypeError(f"The task {function.__name__} must take keyword-only arguments.")
        declare: Any = app.task  # celery-types has no signature for a call with **options
        task = declare(acks_late=True, reject_on_worker_lost=True, ignore_result=True, **options)(function)
        _queue_of[task.name] = queue
        return task

    return decorate


def hand_over(task: Any, *, queue: str | None = None, **ids: str) -> None:
    """Give a task to the workers. A broker that is away keeps nobody from going on: the tick finds what is due."""
    try:
        task.apply_async(kwargs=ids, queue=queue)
    except OperationalError as error:
        logger.warning("The broker does not answer, the tick queues %s %s later: %s", task.name, ids, error)
