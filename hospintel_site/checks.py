"""Combinations of settings that would hurt, as Django system checks: each with an id, a sentence and what to do."""

import os
import ssl
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register  # noqa: A004 - Django's name
from django.db import connection
from django.utils.module_loading import import_string

from apps.federation.pipeline import storage
from hospintel_site import env
from hospintel_site.env import is_loopback

SHORTEST_SECRET = 40
SHORTEST_TOKEN = 32
# What kombu takes where nothing is said.
KOMBU_SECONDS = 3600
OTHERS = stat.S_IRWXG | stat.S_IRWXO


def register_all() -> None:
    """Make `manage.py check`, and with it every command, run the checks."""
    register(all_checks, Tags.security)
    register(keys, Tags.database)
    # What asks another machine is not asked before every command.
    register(storage_answers, "storage", deploy=True)


def all_checks(**_: Any) -> list[CheckMessage]:
    """Run all of them; Django passes arguments that we do not need."""
    checks = (addresses, secrets, tls, services, patience, sharing, bucket, folders, middleware)
    return [message for check in checks for message in check()]


def addresses() -> Iterator[CheckMessage]:
    """Who can reach the hub, and under which names."""
    if settings.DEBUG and not is_loopback(settings.BIND):
        yield Error(
            f"HOSPINTEL_DEBUG shows settings and source to everybody who can reach {settings.BIND}.",
            hint="Unset HOSPINTEL_DEBUG, or set HOSPINTEL_BIND=127.0.0.1.",
            id="hospintel.E001",
        )
    if settings.FAILPOINTS and not is_loopback(settings.BIND):
        yield Error(
            f"HOSPINTEL_FAILPOINT makes a hub die on purpose that can be reached at {settings.BIND}.",
            hint="Unset HOSPINTEL_FAILPOINT, HOSPINTEL_FAILPOINT_FOLDER and HOSPINTEL_TESTING: they are for tests.",
            id="hospintel.E017",
        )
    if any(host in {"*", "."} for host in settings.ALLOWED_HOSTS):
        yield Error(
            "HOSPINTEL_ALLOWED_HOSTS allows every name: links could be made to lead elsewhere, and pages of other "
            "sites could open our WebSockets.",
            hint="List the names under which people reach the hub, such as hub.example.org.",
            id="hospintel.E002",
        )
    if not is_loopback(settings.BIND) and not settings.TLS_CERT and not settings.BEHIND_PROXY:
        yield Warning(
            f"The hub listens on {settings.BIND} without TLS: passwords travel readable, and agents will refuse it.",
            hint="Set HOSPINTEL_TLS_CERT and HOSPINTEL_TLS_KEY (for a trial: manage.py make_test_cert), or "
            "HOSPINTEL_BEHIND_PROXY=1 behind a proxy that speaks TLS.",
            id="hospintel.W001",
        )
    if settings.BEHIND_PROXY and not is_loopback(settings.BIND):
        yield Warning(
            "HOSPINTEL_BEHIND_PROXY makes the hub believe the headers X-Real-IP and X-Forwarded-Proto of whoever "
            f"reaches {settings.BIND}.",
            hint="Let only the proxy reach this address (HOSPINTEL_BIND=127.0.0.1, or a firewall).",
            id="hospintel.W002",
        )
    open_to_others = settings.BEHIND_PROXY or not is_loopback(settings.BIND)
    if open_to_others and all(is_loopback(host.strip(".[]")) for host in settings.ALLOWED_HOSTS):
        yield Warning(
            "The hub is meant to be reached from outside, but answers to the names of this machine alone: everybody "
            "else gets 400.",
            hint="Set HOSPINTEL_ALLOWED_HOSTS to the names under which people and agents reach it, such as "
            "hub.example.org.",
            id="hospintel.W005",
        )


def secrets() -> Iterator[CheckMessage]:
    """What must stay secret."""
    for name, secret in (("HOSPINTEL_SECRET_KEY", settings.SECRET_KEY), ("HOSPINTEL_OTP_KEY", settings.OTP_KEY)):
        if len(secret) >= SHORTEST_SECRET and len(set(secret)) >= SHORTEST_SECRET // 4:
            continue
        yield Error(
            f"{name} is too short to be secret.",
            hint="Unset it: the hub then makes one and keeps it in HOSPINTEL_KEYS. Or give at least "
            f"{SHORTEST_SECRET} random characters.",
            id="hospintel.E003",
        )
    if settings.METRICS_TOKEN and len(settings.METRICS_TOKEN) < SHORTEST_TOKEN:
        yield Error(
            "HOSPINTEL_METRICS_TOKEN is too short to be secret.",
            hint=f"Give at least {SHORTEST_TOKEN} random characters: openssl rand -hex 32.",
            id="hospintel.E020",
        )
    keys = Path(settings.KEYS).resolve()
    if keys.exists() and stat.S_IMODE(keys.stat().st_mode) & OTHERS:
        yield Error(
            f"Other accounts of this machine can look into the keys folder {keys}.",
            hint=f"chmod 700 {keys}",
            id="hospintel.E004",
        )
    served = [*map(Path, settings.STATICFILES_DIRS), settings.MODEL_DIR, settings.UPLOAD_DIR]
    for folder in (Path(place).resolve() for place in served):
        if keys == folder or folder in keys.parents or keys in folder.parents:
            yield Error(
                f"The keys folder {keys} and {folder}, from where files are served, lie inside one another.",
                hint="Set HOSPINTEL_KEYS to a folder of its own.",
                id="hospintel.E005",
            )


def tls() -> Iterator[CheckMessage]:
    """Certificate and key."""
    cert, key = settings.TLS_CERT, settings.TLS_KEY
    if bool(cert) != bool(key):
        yield Error(
            "HOSPINTEL_TLS_CERT and HOSPINTEL_TLS_KEY must be set together.",
            hint="Both make the hub speak TLS; neither makes it speak plain HTTP.",
            id="hospintel.E006",
        )
        return
    if not cert or not key:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
        readable_by_others = stat.S_IMODE(Path(key).stat().st_mode) & OTHERS
    except (OSError, ssl.SSLError) as error:
        yield Error(
            f"The TLS certificate {cert} cannot be used with the key {key}: {error}.",
            hint="Both must be PEM files that this account can read, and belong together.",
            id="hospintel.E007",
        )
        return
    if readable_by_others:
        yield Error(
            f"Other accounts of this machine can read the TLS key {key}.", hint=f"chmod 600 {key}", id="hospintel.E008"
        )


def services() -> Iterator[CheckMessage]:
    """Database and broker."""
    if settings.REDIS_URL and not settings.DATABASE_URL:
        yield Warning(
            "Redis can bring workers of several machines together, but SQLite serves processes of one machine.",
            hint="Set DATABASE_URL to a PostgreSQL database, or unset REDIS_URL.",
            id="hospintel.W003",
        )
    if settings.DATABASE_URL and not settings.REDIS_URL:
        yield Warning(
            "Tasks are handed out through files in HOSPINTEL_VAR: workers on other machines get none.",
            hint="Set REDIS_URL, or run every process on this machine.",
            id="hospintel.W004",
        )


def patience() -> Iterator[CheckMessage]:
    """Redis gives a message to another worker when its time is over: by then no task may still run."""
    if not settings.REDIS_URL:
        return
    from hospintel_site.celery import app  # noqa: PLC0415 - loads the tasks, which need the models

    app.autodiscover_tasks(force=True)
    again = settings.CELERY_BROKER_TRANSPORT_OPTIONS.get("visibility_timeout", KOMBU_SECONDS)
    for name, task in sorted(app.tasks.items()):
        longest = task.time_limit or app.conf.task_time_limit
        if name.startswith("celery.") or (longest and longest < again):
            continue
        yield Error(
            f"Redis hands the task {name} out again after {again} s, while it may still run ({longest or 'no'} s are "
            "its limit).",
            hint="Give the task a time_limit below the broker's visibility_timeout (settings.py).",
            id="hospintel.E013",
        )


def sharing() -> Iterator[CheckMessage]:
    """What processes on several machines must have in common, as far as one of them can tell."""
    host = settings.DATABASES["default"].get("HOST", "")
    if not settings.REDIS_URL or not host or host.startswith("/") or is_loopback(host):
        return
    unset = [name for name in ("HOSPINTEL_STORAGE", "HOSPINTEL_KEYS") if not env.text(name)]
    if unset:
        yield Warning(
            f"The database is on {host}, but without {' and '.join(unset)} this machine keeps models, sealed updates "
            f"or keys for itself in {settings.VAR}: processes on other machines would not find them.",
            hint="Set each to a folder that all machines share (HOSPINTEL_STORAGE may be a bucket); where all "
            "processes run on this one, to a folder here.",
            id="hospintel.W007",
        )


def keys(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Whether the keys that the database knows are in this machine's folder; asked with `check --database default`."""
    from apps.federation.models import HubKey  # noqa: PLC0415 - needs the models
    from apps.federation.pipeline.keys import are_there  # noqa: PLC0415 - as above

    known = "default" in (databases or []) and HubKey._meta.db_table in connection.introspection.table_names()  # noqa: SLF001 - Django's documented way
    if not known or not HubKey.objects.exists() or are_there():
        return []
    return [
        Error(
            f"An active key of the hub is not in {settings.KEYS}, or this account may not read it.",
            hint="All machines of a hub share one keys folder: point HOSPINTEL_KEYS at it.",
            id="hospintel.E014",
        )
    ]


def bucket() -> Iterator[CheckMessage]:
    """The bucket in which files lie."""
    place = settings.S3
    if place is None:
        return
    if bool(place.access_key) != bool(place.secret_key):
        yield Error(
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY must be set together.",
            hint="Set both (or their _FILE), or neither where the machine's role or AWS_PROFILE gives them.",
            id="hospintel.E015",
        )
    url = urlsplit(place.endpoint)
    if url.scheme == "http" and not is_loopback(url.hostname or ""):
        yield Warning(
            f"Models and sealed uploads travel to {place.endpoint} without TLS: who listens can read the models.",
            hint="Give HOSPINTEL_S3_ENDPOINT an https address, with AWS_CA_BUNDLE for an authority of your own.",
            id="hospintel.W008",
        )


def storage_answers(**_: Any) -> list[CheckMessage]:
    """Put a file, read it and delete it (`manage.py check --deploy --tag storage`)."""
    problem = storage.probe()
    hint = "HOSPINTEL_STORAGE, HOSPINTEL_S3_ENDPOINT and AWS' variables say where files lie: docs/operations.md."
    return [Error(f"The storage cannot be used: {problem}", hint=hint, id="hospintel.E016")] if problem else []


def folders() -> Iterator[CheckMessage]:
    """Files the hub needs."""
    weights = settings.BASE_WEIGHTS
    if weights is not None and not (weights.is_file() and os.access(weights, os.R_OK)):
        yield Error(
            f"HOSPINTEL_BASE_WEIGHTS names {weights}, which is not a file that this account can read.",
            hint="Give the VGG16 weights without top (Keras .h5 or safetensors), or unset it to have them found.",
            id="hospintel.E009",
        )
    yield from _private_var(settings.VAR)
    for name, folder in (("HOSPINTEL_VAR", settings.VAR), ("HOSPINTEL_KEYS", settings.KEYS)):
        if not os.access(folder, os.W_OK | os.X_OK):
            yield Error(
                f"{name} names {folder}, where this account cannot write.",
                hint=f"Change its owner, or set {name} to another folder.",
                id="hospintel.E010",
            )


def _private_var(folder: Path) -> Iterator[CheckMessage]:
    mode = stat.S_IMODE(folder.stat().st_mode) if folder.exists() else 0
    hint = f"chmod -R go= {folder}"
    if mode & stat.S_IWOTH:
        yield Error(
            f"Every account of this machine can replace the files in HOSPINTEL_VAR, {folder}.",
            hint=hint,
            id="hospintel.E012",
        )
    elif mode & OTHERS:
        yield Warning(
            f"Other accounts of this machine can look into HOSPINTEL_VAR, {folder}.",
            hint=hint,
            id="hospintel.W006",
        )


def middleware() -> Iterator[CheckMessage]:
    """Middleware that would hold a thread for as long as an agent's long poll waits."""
    for name in settings.MIDDLEWARE:
        if not getattr(import_string(name), "async_capable", False):
            yield Error(
                f"The middleware {name} cannot run in async mode: each waiting agent would hold a thread.",
                hint="Give it an async path, or wrap it.",
                id="hospintel.E011",
            )
