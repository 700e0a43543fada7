"""Backup and restore of an embedded hub: database and models in one tar, with a manifest of digests. Keys stay out."""

import hashlib
import io
import json
import os
import secrets
import shutil
import sqlite3
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from django.conf import settings
from django.db import connections

from apps.federation.pipeline import storage

FORMAT = 1
MANIFEST, DATABASE, MODELS = "manifest.json", "hospintel.sqlite3", "models"
LARGEST_MANIFEST = 64 * 1024 * 1024


class BackupError(Exception):
    """A backup that cannot be made or must not be restored; the text is for people."""


@dataclass(frozen=True)
class Member:
    """One file of a backup."""

    size: int
    sha256: str


def create_backup(target: Path) -> dict[str, Member]:
    """Write a backup to `target` (0600), from a running hub too. Returns what is in it.

    The database is copied by SQLite's online backup; sessions are left out, so that nobody can use a stolen backup to
    be somebody. Models never change once written, so copying them afterwards is consistent with the database; those in
    a bucket are left out.
    Raises BackupError.
    """
    if settings.DATABASE_URL:
        raise BackupError("The database is PostgreSQL: back it up with pg_dump, and the model folder by itself.")
    if target.exists():
        raise BackupError(f"{target} exists already.")
    source = Path(connections["default"].settings_dict["NAME"])
    # Nobody who may write to the folder can have put something of this name there.
    partial = target.with_name(f".{secrets.token_hex(16)}.partial")
    with tempfile.TemporaryDirectory(prefix="backup-", dir=settings.VAR) as scratch:
        snapshot = Path(scratch) / DATABASE
        _snapshot(source, snapshot)
        files = {DATABASE: snapshot, **dict(_model_files())}
        members = {name: _member(path) for name, path in files.items()}
        try:
            with _private(partial) as raw, tarfile.open(fileobj=raw, mode="w") as tar:
                _add_bytes(tar, MANIFEST, _manifest(members))
                for name, path in files.items():
                    tar.add(path, arcname=name, recursive=False)
            # Never onto a file that has appeared meanwhile.
            target.hardlink_to(partial)
        except FileExistsError as error:
            raise BackupError(f"{error.filename} exists already.") from error
        finally:
            partial.unlink(missing_ok=True)
    return members


def restore_backup(source: Path | None, *, force: bool) -> Path | None:
    """Put a backup in place of what is in HOSPINTEL_VAR. The hub must not run. With PostgreSQL others have done it.

    Everything is read and checked before anything is replaced. What is there is moved aside (only with `force`), never
    deleted; models go into the bucket, where there is one. Returns the folder that things were moved to, if any. Raises
    BackupError.
    """
    if settings.DATABASE_URL:
        if source is not None:
            raise BackupError(
                "The database is PostgreSQL: restore it with pg_restore, then say `restore` with no file."
            )
        return None
    if source is None:
        raise BackupError("Which backup? Say `restore FILE`.")
    database = Path(connections["default"].settings_dict["NAME"])
    models = Path(settings.MODEL_DIR)
    occupied = [path for path in (database, models, Path(settings.UPLOAD_DIR), settings.QUEUE_DIR) if _in_use(path)]
    if occupied and not force:
        raise BackupError(
            f"There is a hub here already: {occupied[0]}. --force moves what is there aside and restores in its place."
        )
    with tempfile.TemporaryDirectory(prefix="restore-", dir=settings.VAR) as scratch:
        folder = Path(scratch)
        _extract(source.absolute(), folder)
        _check_database(folder / DATABASE)
        if settings.S3 is not None:
            _put_models(folder / MODELS)
        connections.close_all()
        aside = _move_aside(occupied, database)
        if settings.S3 is None and (folder / MODELS).exists():
            models.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if models.exists():
                shutil.rmtree(models)  # no file in it, as just found
            shutil.move(folder / MODELS, models)
        database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.move(folder / DATABASE, database)
    return aside


def _snapshot(source: Path, target: Path) -> None:
    with (
        closing(sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True)) as live,
        closing(sqlite3.connect(target)) as copy,
    ):
        live.backup(copy)
        copy.execute("DELETE FROM django_session")
        copy.commit()
        copy.execute("VACUUM")
        copy.execute("PRAGMA journal_mode=DELETE")


def _put_models(folder: Path) -> None:
    """Put the models of a backup into the bucket; what is there under the same name is the same."""
    for path in [found for found in folder.rglob("*") if found.is_file()]:
        name = path.relative_to(folder).as_posix()
        if storage.models().find(name) is None:
            storage.models().put_file(name, path)


def _model_files() -> Iterator[tuple[str, Path]]:
    if settings.S3 is not None:
        return
    root = Path(settings.MODEL_DIR)
    for path in sorted(root.rglob("*")) if root.exists() else ():
        if path.is_file() and not path.is_symlink() and not path.name.startswith("."):
            yield f"{MODELS}/{path.relative_to(root).as_posix()}", path


def _manifest(members: dict[str, Member]) -> bytes:
    content = {
        "format": FORMAT,
        "made_ms": time.time_ns() // 1_000_000,
        "left_out": [
            *("keys", "sessions", "uploads of open rounds"),
            *(["models: they are in a bucket"] if settings.S3 else []),
        ],
        "files": {name: asdict(member) for name, member in members.items()},
    }
    return json.dumps(content, indent=1, sort_keys=True).encode()


def _member(path: Path) -> Member:
    with path.open("rb") as file:
        return Member(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


@contextmanager
def _private(path: Path) -> Iterator[IO[bytes]]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _add_bytes(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o600
    tar.addfile(info, io.BytesIO(content))


def _extract(source: Path, folder: Path) -> None:
    """Extract a backup into an empty folder, and check that it is exactly what its manifest says."""
    try:
        with tarfile.open(source, mode="r:") as tar:
            expected = _read_manifest(tar)
            for info in tar:
                if info.name == MANIFEST:
                    continue
                if info.name not in expected or not info.isreg() or info.size != expected[info.name].size:
                    raise BackupError(f"The backup holds {info.name}, which its manifest does not describe.")
                tar.extract(info, folder, filter="data")
    except (OSError, tarfile.TarError) as error:
        raise BackupError(f"{source} cannot be read as a backup: {error}.") from error
    for name, member in expected.items():
        path = folder / name
        if not path.is_file() or _member(path) != member:
            raise BackupError(f"{name} is damaged: it does not have the digest that the manifest gives.")


def _read_manifest(tar: tarfile.TarFile) -> dict[str, Member]:
    first = tar.next()
    file = tar.extractfile(first) if first is not None and first.name == MANIFEST and first.isreg() else None
    if first is None or file is None or first.size > LARGEST_MANIFEST:
        raise BackupError("This is not a backup: it does not begin with a manifest.")
    try:
        content: Any = json.loads(file.read())
        if content["format"] != FORMAT:
            raise BackupError(f"This backup has the format {content['format']}; this version reads {FORMAT}.")
        members = {str(name): Member(int(m["size"]), str(m["sha256"])) for name, m in content["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackupError("The backup's manifest cannot be read.") from error
    for name in members:
        parts = PurePosixPath(name).parts
        plain = name != DATABASE and parts[:1] == (MODELS,) and len(parts) > 1 and ".." not in parts
        if name != DATABASE and not plain:
            raise BackupError(f"The backup's manifest names {name}, which is no file of a backup.")
    if DATABASE not in members:
        raise BackupError("The backup has no database.")
    return members


def _check_database(path: Path) -> None:
    try:
        with closing(sqlite3.connect(path)) as database:
            answer = database.execute("PRAGMA integrity_check").fetchone()
    except sqlite3.DatabaseError as error:
        raise BackupError(f"The database in the backup is damaged: {error}.") from error
    if answer != ("ok",):
        raise BackupError(f"The database in the backup is damaged: {answer}.")


def _in_use(path: Path) -> bool:
    """Return whether there is a file to lose: empty folders are made by every start."""
    return any(found.is_file() for found in path.rglob("*")) if path.is_dir() else path.exists()


def _move_aside(occupied: list[Path], database: Path) -> Path | None:
    if not occupied:
        return None
    aside = Path(tempfile.mkdtemp(prefix=time.strftime("replaced-%Y%m%d-%H%M%S-"), dir=settings.VAR))
    for path in [*occupied, *(database.with_name(database.name + end) for end in ("-wal", "-shm"))]:
        if path.exists():
            shutil.move(path, aside / path.name)
    return aside
