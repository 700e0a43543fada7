"""The permanent cast: people, two hospitals that train together, a third that does not, and an agent of each.

Building it takes a second (an RSA key, logins, enrolments over HTTP), so on SQLite it is built once a process, and each
test starts from a copy of the database file: real commits, real threads, and no emptying of tables in between.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    connections.close_all()
    kept = connection.settings_dict["NAME"]
    connection.settings_dict["NAME"] = str(path)
    # What kind of thing has which number is another in another file.
    ContentType.objects.clear_cache()
    try:
        yield
    finally:
        connections.close_all()
        connection.settings_dict["NAME"] = kept
        ContentType.objects.clear_cache()


@dataclass(frozen=True)
class Snapshot:
    """A world that was built before, as files: its database, its keys, its model."""

    world: Any
    folder: Path

    @contextmanager
    def restored(self, folder: Path) -> Iterator[Any]:
        """Let the hub go on from a copy of them, but for the keys."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("keys"))
        with database_file(folder / DATABASE):
            yield self.world


def take_snapshot(folder: Path, make: Callable[[], Any] = build) -> Snapshot:
    """Build the world, or more than it, in a database and folders of its own."""
    kept = settings.KEYS, settings.MODEL_DIR, settings.UPLOAD_DIR
    settings.KEYS, settings.MODEL_DIR, settings.UPLOAD_DIR = (folder / name for name in ("keys", "models", "uploads"))
    try:
        with database_file(folder / DATABASE):
            call_command("migrate", verbosity=0)
            return Snapshot(make(), folder)
    finally:
        settings.KEYS, settings.MODEL_DIR, settings.UPLOAD_DIR = kept
