"""Whether this hub is alive, and whether it can do its work."""

import logging
from collections.abc import Callable

from django.conf import settings
from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_GET
from drf_spectacular.utils import extend_schema

from apps.federation.pipeline import keys, storage
from hospintel_site import broker, processes
from hospintel_site.models import Process
from hospintel_site.openapi import Alive, Readiness, in_schema, refusals

logger = logging.getLogger(__name__)
OK, FAILED, UNKNOWN = "ok", "failed", "unknown"


@in_schema(extend_schema(tags=["Everyone"], responses={200: Alive, **refusals({503: "database_away"})}))
@require_GET
def healthz(request: HttpRequest) -> JsonResponse:  # noqa: ARG001 - a view's signature
    """Say whether the hub is alive: whether its database answers."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error:
        logger.exception("The database does not answer")
        return JsonResponse({"code": "database_away", "detail": "The database does not answer."}, status=503)
    return JsonResponse({"status": "ok"})


@in_schema(extend_schema(tags=["Everyone"], responses={200: Readiness, **refusals({503: "not_ready"})}))
@require_GET
def readyz(request: HttpRequest) -> JsonResponse:  # noqa: ARG001 - a view's signature
    """Say whether the hub can do its work: what it needs answers, and each of its processes is alive somewhere.

    The answer names what fails, in `checks`; why it fails is in the log alone.
    """
    checks = look()
    failed = [name for name, found in checks.items() if found == FAILED]
    if failed:
        detail = f"Not ready: {', '.join(failed)}."
        return JsonResponse({"code": "not_ready", "detail": detail, "checks": checks}, status=503)
    return JsonResponse({"status": "ready", "checks": checks})


def look() -> dict[str, str]:
    """Return what each check found; what only the database could tell is unknown without it."""
    found = {name: _outcome(name, check) for name, check in _WITHOUT_DATABASE.items()}
    if found["database"] == FAILED:
        return found | dict.fromkeys(_WITH_DATABASE, UNKNOWN)
    return found | {name: _outcome(name, check) for name, check in _WITH_DATABASE.items()}


def _outcome(name: str, check: Callable[[], str]) -> str:
    try:
        problem = check()
    except (Error, OSError) as error:
        problem = str(error)
    if problem:
        logger.error("Not ready: %s: %s", name, problem)
    return FAILED if problem else OK


def _database() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return ""


_applied = False


def _migrations() -> str:
    # Once they are, they stay applied as long as this process runs its own code; looking means reading every file.
    global _applied  # noqa: PLW0603 - as above
    if not _applied:
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
        if missing:
            return f"{len(missing)} are not applied; run manage.py migrate"
        _applied = True
    return ""


def _broker() -> str:
    broker.waiting()
    return ""


def _storage() -> str:
    return storage.probe()


def _keys() -> str:
    return "" if keys.are_there() else f"an active key is not in {settings.KEYS}, or may not be read"


def _tick() -> str:
    return _missing(Process.Kind.TICK)


def _workers() -> str:
    return _missing(Process.Kind.DEFAULT, Process.Kind.TRAINING)


def _missing(*kinds: str) -> str:
    there = {kind for kind, _version in processes.alive()}
    silent = [kind for kind in kinds if kind not in there]
    return f"no sign of life of {' and '.join(silent)} for {processes.ALIVE_SECONDS} s" if silent else ""


_WITHOUT_DATABASE = {"database": _database, "broker": _broker, "storage": _storage}
_WITH_DATABASE = {"migrations": _migrations, "keys": _keys, "tick": _tick, "workers": _workers}
