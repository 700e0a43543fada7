"""Whole Keras models as files: which are kept, whether their bytes are those that were written, who waits for one.

Kept are the files of all current versions, and of the older ones the KEPT_OLD that were asked for last, for KEPT_DAYS.
The rest is written again when somebody asks: equal input gives equal bytes.
"""

import hashlib
import json
import logging
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Self

from django.conf import settings

from apps.federation.models import Federation
from apps.federation.pipeline import storage
from apps.federation.pipeline.step import Refusal

logger = logging.getLogger(__name__)
KEPT_OLD, KEPT_DAYS = 5, 7
# Older versions that may wait for the worker at once, and how long it is remembered that somebody waits for one.
MOST_WAITING, ASK_SECONDS = 3, 600
PART_SECONDS = 3600
_DAY = 24 * 3600
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Written:
    """What was written of one head: SHA-256 of the whole file in hex, and its bytes."""

    sha256: str
    size: int

    @classmethod
    def of(cls, digest: str) -> Self | None:
        """Return what was written of the head with this digest; None if nothing, or another size than was noted."""
        try:
            found = cls(**json.loads(_note(digest).read_text()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            logger.exception("The note on the file of %s is damaged; the file is written again", digest)
            return None
        return found if storage.size_of(path_of(digest)) == found.size else None


def path_of(digest: str) -> Path:
    """Return where the file with this head lies, if it was written."""
    return _folder() / f"{digest}.h5"


def note(digest: str) -> Written:
    """Note down what has just been written of a head, so that it can be checked before it is served."""
    path = path_of(digest)
    written = Written(_sha256(path), path.stat().st_size)
    storage.write_file(_note(digest), json.dumps(asdict(written)).encode())
    _wanted(digest).unlink(missing_ok=True)
    return written


def checked(digest: str) -> tuple[Path, Written] | None:
    """Return the file of a head, whose bytes are those that were written; None where there is none.

    A damaged file is deleted: whoever asks has it written again.
    """
    written = Written.of(digest)
    if written is None:
        return None
    path = path_of(digest)
    try:
        state = path.stat()
        found = _sha256_once(path, state.st_ino, state.st_mtime_ns, state.st_size)
    except FileNotFoundError:
        return None
    if found != written.sha256:
        logger.error("The file %s is damaged and was deleted; it is written again when it is asked for", path)
        _delete(digest)
        return None
    return path, written


def ask(digest: str) -> bool:
    """Note that somebody wants the file of an older version. Returns whether a worker has to be asked for it now.

    Raises:
        Refusal: `models_waiting` (503) where too many older versions wait already.
    """
    if Written.of(digest) is None and not is_asked_for(digest):
        lately = [path.stem for path in _folder().glob("*.asked") if is_asked_for(path.stem)]
        if len([other for other in lately if Written.of(other) is None]) >= MOST_WAITING:
            detail = "Other older versions are being written. Ask again when they are done."
            raise Refusal("models_waiting", detail, 503)
    # Without room for it there is none for the file either.
    with suppress(OSError):
        _folder().mkdir(parents=True, exist_ok=True)
        _asked(digest).touch()
    return want(digest)


def want(digest: str) -> bool:
    """Return whether the file of a version is missing and nobody asked a worker for it lately.

    Whoever is told so has to do that. Where writing fails, for want of the base's weights say, polling clients must not
    keep every worker busy with it.
    """
    return Written.of(digest) is None and storage.ask_once(_wanted(digest))


def is_asked_for(digest: str) -> bool:
    """Return whether somebody asked for the file of an older version lately."""
    return storage.modified(_asked(digest)) > time.time() - ASK_SECONDS


def prune(room: int = 0) -> None:
    """Delete what is not kept; `room` is for how many files more there shall be room among the older ones."""
    found = Federation.objects.exclude(current=None).values_list("current__digest", flat=True)
    asked = {path.stem: storage.modified(path) for path in _folder().glob("*.asked")}
    older = sorted(asked.keys() - set(found), key=lambda digest: asked[digest], reverse=True)
    lately = [digest for digest in older if asked[digest] > time.time() - KEPT_DAYS * _DAY]
    written = [digest for digest in lately if Written.of(digest) is not None]
    # Those that are being written have no note yet.
    kept = {*found, *written[: KEPT_OLD - room], *filter(is_asked_for, set(lately) - set(written))}
    for path in _folder().glob("[!.]*"):
        if path.stem not in kept:
            path.unlink(missing_ok=True)
    # A worker that was killed while it wrote leaves its half.
    for path in _folder().glob(".*.part"):
        if storage.modified(path) < time.time() - PART_SECONDS:
            path.unlink(missing_ok=True)


def _delete(digest: str) -> None:
    for path in (_note(digest), path_of(digest), _wanted(digest)):
        path.unlink(missing_ok=True)


def _folder() -> Path:
    return Path(settings.MODEL_DIR) / "h5"


def _note(digest: str) -> Path:
    return _folder() / f"{digest}.json"


def _asked(digest: str) -> Path:
    return _folder() / f"{digest}.asked"


def _wanted(digest: str) -> Path:
    return _folder() / f"{digest}.wanted"


def _sha256(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            found.update(block)
    return found.hexdigest()


@lru_cache(maxsize=32)
def _sha256_once(path: Path, inode: int, modified_ns: int, size: int) -> str:  # noqa: ARG001 - what tells a change
    return _sha256(path)
