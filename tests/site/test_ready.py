"""Whether the hub is ready: each thing that it needs is taken away once."""

import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, connection
from django.db.migrations.recorder import MigrationRecorder
from django.db.models.functions import Now
from django.test import Client

from apps.federation.pipeline import keys
from hospintel_site import health, processes
from hospintel_site.broker import waiting
from hospintel_site.models import Process
from hospintel_site.processes import ALIVE_SECONDS, Beating

Break = Callable[[Any, Path], object]


@pytest.fixture
def ready(db: None, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A hub that has all it needs."""
    for name in ("KEYS", "MODEL_DIR", "UPLOAD_DIR"):
        setattr(settings, name, tmp_path / name.lower())
    settings.REDIS_URL, settings.CELERY_BROKER_TRANSPORT_OPTIONS = "", {"data_folder_in": str(tmp_path)}
    monkeypatch.setattr(health, "_applied", False)
    monkeypatch.setattr(keys, "RSA_BITS", 1024)  # quickly made, and never used
    keys.ensure_keys()
    for kind in Process.Kind.values:
        Process.objects.create(pk=uuid.uuid4(), kind=kind, version="1")
    return settings


def _silence(kind: str) -> None:
    Process.objects.filter(kind=kind).update(seen_at=Now() - timedelta(seconds=ALIVE_SECONDS + 1))


def _queue_gone(settings: Any, _folder: Path) -> None:
    settings.CELERY_BROKER_TRANSPORT_OPTIONS = {"data_folder_in": "/nowhere"}


def _redis_gone(settings: Any, _folder: Path) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"


def _storage_gone(settings: Any, folder: Path) -> None:
    (folder / "file").write_text("")
    settings.MODEL_DIR = folder / "file" / "models"


def _key_gone(settings: Any, _folder: Path) -> None:
    next(settings.KEYS.glob("rsa-*.pem")).unlink()


def _migration_missing(_settings: Any, _folder: Path) -> None:
    MigrationRecorder(connection).record_unapplied("hospintel_site", "0001_processes_and_timings")


BREAKS: list[tuple[str, Break]] = [
    ("broker", _queue_gone),
    ("broker", _redis_gone),
    ("storage", _storage_gone),
    ("keys", _key_gone),
    ("migrations", _migration_missing),
    ("tick", lambda *_: _silence("tick")),
    ("workers", lambda *_: _silence("default")),
    ("workers", lambda *_: _silence("training")),
]


def test_a_hub_that_has_all_it_needs_is_ready(ready: Any, client: Client):
    answer = client.get("/readyz")
    assert answer.status_code == 200, answer.json()
    assert answer.json()["status"] == "ready"
    assert set(answer.json()["checks"].values()) == {"ok"}
    assert client.post("/readyz").status_code == 405


@pytest.mark.parametrize(("name", "break_it"), BREAKS)
def test_what_fails_is_named_and_nothing_else_is_told(
    ready: Any,
    client: Client,
    tmp_path: Path,
    name: str,
    break_it: Break,
    caplog: pytest.LogCaptureFixture,
):
    break_it(ready, tmp_path)
    answer = client.get("/readyz")
    said = answer.json()
    assert (answer.status_code, said["code"], said["detail"]) == (503, "not_ready", f"Not ready: {name}.")
    assert [one for one, found in said["checks"].items() if found != "ok"] == [name]
    assert str(tmp_path) not in answer.text
    # Whoever runs the hub finds out why.
    assert f"Not ready: {name}: " in caplog.text


def test_without_a_database_the_rest_is_unknown(ready: Any, client: Client, monkeypatch: pytest.MonkeyPatch):
    class Away:
        def cursor(self) -> None:
            raise DatabaseError("secret.host.example refused")

    monkeypatch.setattr(health, "connection", Away())
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["detail"]) == (503, "Not ready: database.")
    assert answer.json()["checks"]["tick"] == "unknown"
    assert "secret" not in answer.text


def test_migrations_that_are_applied_are_not_looked_for_again(ready: Any, client: Client):
    assert client.get("/readyz").status_code == 200
    _migration_missing(ready, Path())
    assert client.get("/readyz").status_code == 200


def test_a_process_is_alive_from_its_first_sign_of_life_until_it_leaves(db: None):
    one, other = Beating("tick"), Beating("tick")
    for beating in (one, one, other):
        beating.beat()
    assert processes.alive() == {("tick", processes.VERSION): 2}
    one.leave()
    assert processes.alive() == {("tick", processes.VERSION): 1}


def test_a_process_that_fell_silent_is_forgotten_in_time(db: None):
    Process.objects.create(pk=uuid.uuid4(), kind="web", version="1")
    Process.objects.update(seen_at=Now() - timedelta(days=2))
    Beating("tick").beat()
    assert [process.kind for process in Process.objects.all()] == ["tick"]


def test_messages_in_the_queue_folder_are_counted(settings: Any, tmp_path: Path):
    settings.REDIS_URL, settings.CELERY_BROKER_TRANSPORT_OPTIONS = "", {"data_folder_in": str(tmp_path)}
    for name in ("1_a.default.msg", "2_b.default.msg", "3_c.training.msg", ".4_d.default.msg.part"):
        (tmp_path / name).write_text("")
    assert waiting() == {"default": 2, "training": 1}
