"""The permanent cast: people, two hospitals that train together, a third that does not, and an agent of each.

Building it takes a second (an RSA key, logins, enrolments over HTTP), so it is built once a process, and each test
starts from a copy of the database: real commits, real threads, and no emptying of tables in between.
"""

import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import connection, connections
from hub_client import HubClient
from site_agent import Credentials, b64

from apps.accounts.models import Hospital, Role, User
from apps.accounts.pipeline import add_member, create_hospital
from apps.federation.pipeline import bootstrap, enrol, keys
from hospintel_core import signing

SYSTEM = "system:test"
MAX_SAMPLES = 1000
DATABASE = "hub.sqlite3"


@dataclass(frozen=True)
class Cast:
    """Who there is. `island` is a hospital that takes part in no federation; `reader` is a plain user."""

    admin: User
    north_doctor: User
    south_doctor: User
    reader: User
    north: Hospital
    south: Hospital
    island: Hospital


@dataclass(frozen=True)
class World:
    """The cast and its agents' credentials; the hub's own state is in the database and the folders."""

    cast: Cast
    agents: dict[str, Credentials]


def enrol_agent(hospital: Hospital, *, max_samples: int = MAX_SAMPLES) -> Credentials:
    """Enrol an agent of a hospital, over HTTP."""
    code, _ = enrol.issue_code(hospital, actor=SYSTEM, max_samples=max_samples)
    key = Ed25519PrivateKey.generate()
    raw = signing.public_raw(key.public_key())
    proof = signing.sign(signing.DOMAIN_ENROL, signing.enrol_proof_message(code, raw), key)
    body = {"code": code, "public_key": b64(raw), "proof": b64(proof), "agent_version": "0.1.0"}
    answer = HubClient().post_json("/api/v1/agents/enrol", body)
    assert answer.status_code == 201, answer.content
    found = answer.json()
    return Credentials(found["agent_id"], found["token"], key, keys.identity_public())


def build() -> World:
    """Create the cast in an empty database, and the hub's keys and model in its folders."""
    keys.ensure_keys()
    federation = bootstrap.ensure_federation(architecture="pixels-head16")
    hospitals = {name: create_hospital(f"{name.title()} Clinic", actor=SYSTEM) for name in ("north", "south", "island")}
    people = {
        name: User.objects.create_user(name, password="correct horse battery", role=role)
        for name, role in {
            "admin": Role.ADMIN,
            "north_doctor": Role.DOCTOR,
            "south_doctor": Role.DOCTOR,
            "reader": Role.USER,
        }.items()
    }
    for name in ("north", "south"):
        enrol.join(federation, hospitals[name], actor=SYSTEM)
        add_member(people[f"{name}_doctor"], hospitals[name], actor=SYSTEM)
    return World(Cast(**people, **hospitals), {name: enrol_agent(hospitals[name]) for name in hospitals})


@contextmanager
def database_file(path: Path) -> Iterator[None]:
    """Let the hub use this SQLite file, in every thread."""
    with _database(str(path)):
        yield


@contextmanager
def _database(name: str) -> Iterator[None]:
    """Let the hub use this database, in every thread."""
    kept = connection.settings_dict["NAME"]
    _turn_to(name)
    try:
        yield
    finally:
        _turn_to(kept)


def _turn_to(name: str) -> None:
    connections.close_all()
    if connection.vendor == "postgresql":
        connection.close_pool()
    connection.settings_dict["NAME"] = name
    # What kind of thing has which number is another in another database.
    ContentType.objects.clear_cache()


def _sql(statement: str) -> None:
    """Do what PostgreSQL does outside of any transaction and of the database that it concerns."""
    with psycopg.connect(settings.DATABASE_URL, autocommit=True) as outside:
        outside.execute(statement)


@contextmanager
def _own_database(folder: Path, like: str = "") -> Iterator[str]:
    """A database for whoever asks, empty or a copy; returns its name. SQLite's lies in the folder already."""
    if connection.vendor == "sqlite":
        yield str(folder / DATABASE)
        return
    name = f"world_{uuid.uuid4().hex}"
    _sql(f'CREATE DATABASE "{name}" TEMPLATE "{like or "template0"}"')
    try:
        yield name
    finally:
        # A thread of the test may still be connected.
        _sql(f'DROP DATABASE "{name}" WITH (FORCE)')


@dataclass(frozen=True)
class Snapshot:
    """A world that was built before: its database, and as files its keys and its model."""

    world: Any
    folder: Path
    database: str

    @contextmanager
    def restored(self, folder: Path) -> Iterator[Any]:
        """Let the hub go on from a copy of them, but for the keys."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("keys"))
        with _own_database(folder, self.database) as name, _database(name):
            yield self.world

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """Let the hub change what will be copied."""
        with _database(self.database):
            yield self.world


@contextmanager
def take_snapshot(folder: Path, make: Callable[[], Any] = build) -> Iterator[Snapshot]:
    """Build the world, or more than it, in a database and folders of its own."""
    kept = settings.KEYS, settings.MODEL_DIR, settings.UPLOAD_DIR
    with _own_database(folder) as name:
        settings.KEYS, settings.MODEL_DIR, settings.UPLOAD_DIR = (
            folder / part for part in ("keys", "models", "uploads")
        )
        try:
            with _database(name):
                call_command("migrate", verbosity=0)
                made = make()
        finally:
            settings.KEYS, settings.MODEL_DIR, settings.UPLOAD_DIR = kept
        yield Snapshot(made, folder, name)
