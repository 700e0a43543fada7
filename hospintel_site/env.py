"""Typed reading of the environment. A value that cannot be read stops the program with one sentence."""

import os
import re
import secrets
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

from hospintel_core.failpoints import ArmedError, arm

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off", ""})
_POSTGRES_SCHEMES = frozenset({"postgres", "postgresql"})
_REDIS_SCHEMES = frozenset({"redis", "rediss"})
# libpq's own words. A process that stands still in a transaction, or whose machine is gone, holds up all that write:
# the server ends its transaction. Waiting ends as on SQLite, and so does a call over a network that swallows it.
_POSTGRES_OPTIONS = {
    "application_name": "hospintel",
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
    "options": "-c lock_timeout=20s -c idle_in_transaction_session_timeout=30s",
}


def text(name: str, default: str = "") -> str:
    """Return the variable's value without surrounding blanks, or `default` where it is unset or empty."""
    return os.environ.get(name, "").strip() or default


def flag(name: str, *, default: bool) -> bool:
    """1/true/yes/on or 0/false/no/off. Raises ImproperlyConfigured on anything else."""
    value = os.environ.get(name)
    if value is None:
        return default
    if value.strip().lower() in _TRUE:
        return True
    if value.strip().lower() in _FALSE:
        return False
    raise ImproperlyConfigured(f"{name} must be 1 or 0, not {value!r}.")


def integer(name: str, default: int, *, low: int, high: int) -> int:
    """Read a whole number within [low, high]. Raises ImproperlyConfigured otherwise."""
    value = text(name)
    if not value:
        return default
    try:
        number = int(value)
    except ValueError:
        raise ImproperlyConfigured(f"{name} must be a whole number, not {value!r}.") from None
    if not low <= number <= high:
        raise ImproperlyConfigured(f"{name} must be between {low} and {high}, not {number}.")
    return number


def one_of(name: str, default: int, allowed: tuple[int, ...]) -> int:
    """Read one of a few whole numbers. Raises ImproperlyConfigured on any other value."""
    number = integer(name, default, low=min(allowed), high=max(allowed))
    if number not in allowed:
        raise ImproperlyConfigured(f"{name} must be {' or '.join(map(str, sorted(allowed)))}, not {number}.")
    return number


def word(name: str, default: str, allowed: tuple[str, ...]) -> str:
    """Read one of a few words. Raises ImproperlyConfigured on any other."""
    value = text(name, default).lower()
    if value not in allowed:
        raise ImproperlyConfigured(f"{name} must be {' or '.join(allowed)}, not {value!r}.")
    return value


def words(name: str, default: list[str]) -> list[str]:
    """Read a comma-separated list, blanks dropped."""
    found = [word.strip() for word in text(name).split(",") if word.strip()]
    return found or default


def path(name: str, default: Path | None = None) -> Path | None:
    """Read an absolute path (`~` expanded), or `default`."""
    value = text(name)
    return Path(value).expanduser().absolute() if value else default


def folder(where: Path) -> Path:
    """`where`, created for this account alone if it is missing. Raises ImproperlyConfigured if that cannot be done."""
    try:
        where.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ImproperlyConfigured(f"The folder {where} cannot be used: {error.strerror}.") from error
    return where


def secret(name: str, default: str = "") -> str:
    """Return `NAME`, or the content of the file that `NAME_FILE` names.

    Raises ImproperlyConfigured if both are set or the file cannot be read.
    """
    value, file = text(name), text(f"{name}_FILE")
    if value and file:
        raise ImproperlyConfigured(f"Set {name} or {name}_FILE, not both.")
    if not file:
        return value or default
    try:
        content = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ImproperlyConfigured(f"{name}_FILE names {file}, which cannot be read: {error}.") from error
    if not content:
        raise ImproperlyConfigured(f"{name}_FILE names {file}, which is empty.")
    return content


def kept_secret(where: Path) -> str:
    """Return the secret kept in `where` (0600), made on first use. Any number of processes may ask at once."""
    if not where.exists():
        folder(where.parent)
        draft = where.with_name(f".{where.name}.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(64))
            file.flush()
            os.fsync(file.fileno())
        try:
            # A link appears whole or not at all and never replaces: the first process wins, the others read its secret.
            where.hardlink_to(draft)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    try:
        return where.read_text(encoding="ascii").strip()
    except OSError as error:
        raise ImproperlyConfigured(f"The secret in {where} cannot be read: {error.strerror}.") from error


def failpoints(bind: str) -> bool:
    """Return whether a test has armed failpoints. Raises ImproperlyConfigured where that is not allowed."""
    try:
        return arm(os.environ, loopback=is_loopback(bind))
    except ArmedError as error:
        raise ImproperlyConfigured(f"{error.detail} {error.hint}".strip()) from error


def is_loopback(host: str) -> bool:
    """Return whether an address (or `localhost`) is this machine's own."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def postgres(url: str) -> dict[str, Any]:
    """Return Django's DATABASES entry for a postgresql:// URL; its query becomes connection options.

    Raises ImproperlyConfigured for any other URL.
    """
    from psycopg import IsolationLevel  # noqa: PLC0415 - the embedded hub needs none of it

    parts = urlsplit(url)
    if parts.scheme not in _POSTGRES_SCHEMES or not parts.path.strip("/"):
        raise ImproperlyConfigured("DATABASE_URL must look like postgresql://user:password@host:5432/name.")
    options: dict[str, Any] = {**_POSTGRES_OPTIONS, **dict(parse_qsl(parts.query))}
    # A pool instead of persistent connections: under ASGI each request has its own thread, which would keep its own.
    options["pool"] = {"min_size": 1, "max_size": 8, "timeout": 20}
    # audit.transaction() lets one in at a time: nothing may depend on a stricter level, which would make it fail.
    options["isolation_level"] = IsolationLevel.READ_COMMITTED
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": unquote(parts.hostname or ""),
        "PORT": str(parts.port or ""),
        # A connection of the pool whose server was restarted is replaced, not used.
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": options,
    }


@dataclass(frozen=True)
class S3:
    """Where in an S3-compatible storage files lie, and how we get there; empty keys leave it to boto3 to find some."""

    bucket: str
    prefix: str
    endpoint: str
    region: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    session_token: str = field(repr=False)


def s3(name: str) -> S3 | None:
    """Read `s3://bucket/prefix`, with what goes with it from HOSPINTEL_S3_ENDPOINT and AWS' own variables.

    None for a path. Raises ImproperlyConfigured for what is neither.
    """
    value = text(name)
    if "://" not in value:
        return None
    match = re.fullmatch(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])((?:/[A-Za-z0-9._-]+)*)/?", value)
    if match is None:
        raise ImproperlyConfigured(f"{name} must be a path or look like s3://bucket/prefix, not {value!r}.")
    endpoint = text("HOSPINTEL_S3_ENDPOINT")
    if endpoint and not re.fullmatch(r"https?://[^/?#@]+/?", endpoint):
        raise ImproperlyConfigured(f"HOSPINTEL_S3_ENDPOINT must look like https://s3.example.org, not {endpoint!r}.")
    prefix = match[2].lstrip("/")
    return S3(
        bucket=match[1],
        prefix=f"{prefix}/" if prefix else "",
        endpoint=endpoint,
        region=text("AWS_REGION") or text("AWS_DEFAULT_REGION", "us-east-1"),
        access_key=secret("AWS_ACCESS_KEY_ID"),
        secret_key=secret("AWS_SECRET_ACCESS_KEY"),
        session_token=secret("AWS_SESSION_TOKEN"),
    )


def redis(name: str) -> str:
    """Read the URL of a Redis; empty where there is none. Raises ImproperlyConfigured for any other URL."""
    url = secret(name)
    if url and (urlsplit(url).scheme not in _REDIS_SCHEMES or not urlsplit(url).hostname):
        raise ImproperlyConfigured(f"{name} must look like redis://:password@host:6379/0.")
    return url


def sqlite(file: Path) -> dict[str, Any]:
    """Return Django's DATABASES entry for the embedded database."""
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(file),
        "OPTIONS": {
            # DEFERRED (the default) fails with "database is locked" as soon as two processes read and then write.
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": (
                "PRAGMA journal_mode=WAL;PRAGMA synchronous=FULL;PRAGMA foreign_keys=ON;"
                # `apps.audit.turns` does it, when nobody writes.
                "PRAGMA wal_autocheckpoint=0;"
            ),
        },
    }
