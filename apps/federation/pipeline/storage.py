"""Files of the hub: heads by digest, sealed updates, unfinished uploads. Temporary, fsync, rename, fsync folder."""

import errno
import logging
import os
import time
from contextlib import suppress
from pathlib import Path
from uuid import UUID, uuid4

from django.conf import settings

from apps.federation.pipeline.step import Refusal
from hospintel_core import weights
from hospintel_core.errors import CoreError

logger = logging.getLogger(__name__)
WANT_SECONDS = 15
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class StorageError(CoreError):
    """A stored head that is missing or damaged."""

    codes = frozenset({"head_missing", "head_damaged"})


def _fsync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def disk_refusal(error: OSError) -> Refusal:
    """Return what a caller is told whose upload has no room; anything else that went wrong is raised again."""
    if error.errno not in DISK_FULL:
        raise error
    logger.error("The disk of the upload folder is full")
    return Refusal("hub_disk_full", "The hub's disk is full. Its admin has to make room; try again later.", 507)


def size_of(path: Path) -> int:
    """Return a file's size, 0 where it is gone: another process may have taken it away."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def modified(path: Path) -> float:
    """Return when a file was last written, in seconds since 1970; 0 where it is gone."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def write_file(path: Path, data: bytes) -> None:
    """Write a file so that after a crash it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _fsync_folder(path.parent)


def head_path(digest: str) -> Path:
    """Return where the head with this SHA-256 lies."""
    return Path(settings.MODEL_DIR) / "heads" / f"{digest}.safetensors"


def store_head(data: bytes) -> str:
    """Store a head's safetensors bytes under their SHA-256 and return it."""
    digest = weights.digest(data)
    if not head_path(digest).exists():
        write_file(head_path(digest), data)
    return digest


def read_head(digest: str, schema: weights.Schema) -> weights.Arrays:
    """Return the arrays of a stored head.

    Raises:
        StorageError: the file is missing (`head_missing`) or its bytes no longer have this digest (`head_damaged`).
        WeightsError: it is not a head of this schema.
    """
    try:
        data = head_path(digest).read_bytes()
    except FileNotFoundError as error:
        raise StorageError("head_missing", f"The head {digest} is not in the model folder.") from error
    if weights.digest(data) != digest:
        raise StorageError("head_damaged", f"The stored head {digest} has been damaged.")
    return weights.loads(data, schema)[0]


def ask_once(note: Path) -> bool:
    """Return whether nobody asked for a file lately, and note that it was asked for now."""
    if modified(note) > time.time() - WANT_SECONDS:
        return False
    # Without room for the note it is asked for more often, that is all.
    with suppress(OSError):
        note.parent.mkdir(parents=True, exist_ok=True)
        note.touch()
    return True


def sealed_path(update_id: UUID) -> Path:
    """Return where the ciphertext of an update lies until its round ends."""
    return Path(settings.UPLOAD_DIR) / "sealed" / f"{update_id}.hspu"


def part_path(round_id: UUID, agent_id: UUID, digest: str) -> Path:
    """Return where the unfinished upload of one sealed update lies."""
    return Path(settings.UPLOAD_DIR) / "parts" / f"{round_id}-{agent_id}-{digest}.part"


def remove_parts(round_id: UUID, agent_id: UUID | None = None) -> None:
    """Remove the unfinished uploads of a round (of one agent)."""
    for path in (Path(settings.UPLOAD_DIR) / "parts").glob(f"{round_id}-{agent_id or '*'}-*.part"):
        path.unlink(missing_ok=True)


def forgotten_uploads(before: float) -> list[Path]:
    """Return the files of uploads that nobody has written to since a time: parts, and wholes of a request that died."""
    folder = Path(settings.UPLOAD_DIR) / "parts"
    return [path for path in folder.glob("*") if modified(path) < before]


def forgotten_sealed(before: float) -> dict[UUID, Path]:
    """Return the ciphertexts that are older than a time, by the id of their update."""
    folder = Path(settings.UPLOAD_DIR) / "sealed"
    return {UUID(path.stem): path for path in folder.glob("*.hspu") if modified(path) < before}


def unfinished_files(before: float) -> list[Path]:
    """Return what `write_file` had begun, before a time, when its process died."""
    roots = (settings.MODEL_DIR, settings.UPLOAD_DIR)
    # Unlike glob, a walk goes on where a folder disappears under it.
    files = [Path(folder) / name for root in roots for folder, _, names in os.walk(root) for name in names]
    return [path for path in files if path.match(".*.tmp") and modified(path) < before]


def adopt_sealed(part: Path, update_id: UUID) -> None:
    """Turn a finished upload into the ciphertext of an update, durably."""
    target = sealed_path(update_id)
    target.parent.mkdir(parents=True, exist_ok=True)
    with part.open("rb") as handle:
        os.fsync(handle.fileno())
    part.replace(target)
    _fsync_folder(target.parent)


def quarantine_folder() -> Path:
    """Return where models that people uploaded lie until they are read."""
    return Path(settings.UPLOAD_DIR) / "models"


def discard_sealed(update_id: UUID) -> None:
    """Delete the ciphertext of an update; nothing happens where it is gone already."""
    with suppress(FileNotFoundError):
        sealed_path(update_id).unlink()
