"""Whole Keras models as files: which are kept, whether their bytes are those that were written, who waits for one.

Kept are the files of all current versions, and of the older ones the KEPT_OLD that were asked for last, for KEPT_DAYS.
The rest is written again when somebody asks: equal input gives equal bytes.
"""

import hashlib
import logging
import time
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Self

from apps.federation.models import Federation
from apps.federation.pipeline import storage
from apps.federation.pipeline.objects import Reader, Stored
from apps.federation.pipeline.step import Refusal
from hospintel_core.failpoints import reach

logger = logging.getLogger(__name__)
KEPT_OLD, KEPT_DAYS = 5, 7
# Older versions that may wait for the worker at once, and how long it is remembered that somebody waits for one.
MOST_WAITING, ASK_SECONDS = 3, 600
PREFIX = "h5/"
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
        note = storage.get_note(_note(digest))
        if note is None:
            return None
        found = cls(**note)
        stored = storage.models().find(name_of(digest))
        return found if stored is not None and stored.size == found.size else None


def name_of(digest: str) -> str:
    """Return the name of the file with this head among the models, if it was written."""
    return f"{PREFIX}{digest}.h5"


def keep(digest: str, draft: Path) -> Written:
    """Keep what has just been written of a head, and note it down so that it can be checked before it is served."""
    with draft.open("rb") as file:
        written = Written(_sha256(file), draft.stat().st_size)
    storage.models().put_file(name_of(digest), draft)
    reach("write_model.written")
    storage.put_note(_note(digest), asdict(written))
    storage.models().delete(_wanted(digest))
    return written


def checked(digest: str) -> tuple[Stored, Written] | None:
    """Return the file of a head, whose bytes are those that were written; None where there is none.

    A damaged file is deleted: whoever asks has it written again.
    """
    written = Written.of(digest)
    if written is None:
        return None
    stored = storage.models().find(name_of(digest))
    if stored is None:
        return None
    try:
        found = _sha256_once(stored)
    except FileNotFoundError:
        return None
    if found != written.sha256:
        logger.error("The file %s is damaged and was deleted; it is written again when it is asked for", stored.name)
        _delete(digest)
        return None
    return stored, written


def ask(digest: str) -> bool:
    """Note that somebody wants the file of an older version. Returns whether a worker has to be asked for it now.

    Raises:
        Refusal: `models_waiting` (503) where too many older versions wait already.
    """
    if Written.of(digest) is None and not is_asked_for(digest):
        lately = [asked.stem for asked in _files(".asked") if _is_recent(asked)]
        if len([other for other in lately if Written.of(other) is None]) >= MOST_WAITING:
            detail = "Other older versions are being written. Ask again when they are done."
            raise Refusal("models_waiting", detail, 503)
    # Without room for it there is none for the file either.
    with suppress(OSError):
        storage.models().put(_asked(digest), b"", lasting=False)
    return want(digest)


def want(digest: str) -> bool:
    """Return whether the file of a version is missing and nobody asked a worker for it lately.

    Whoever is told so has to do that. Where writing fails, for want of the base's weights say, polling clients must not
    keep every worker busy with it.
    """
    return Written.of(digest) is None and storage.ask_once(_wanted(digest))


def is_asked_for(digest: str) -> bool:
    """Return whether somebody asked for the file of an older version lately."""
    found = storage.models().find(_asked(digest))
    return found is not None and _is_recent(found)


def prune(room: int = 0) -> None:
    """Delete what is not kept; `room` is for how many files more there shall be room among the older ones."""
    found = Federation.objects.exclude(current=None).values_list("current__digest", flat=True)
    asked = {found.stem: found.modified for found in _files(".asked")}
    older = sorted(asked.keys() - set(found), key=lambda digest: asked[digest], reverse=True)
    lately = [digest for digest in older if asked[digest] > time.time() - KEPT_DAYS * _DAY]
    written = [digest for digest in lately if Written.of(digest) is not None]
    # Those that are being written have no note yet.
    kept = {*found, *written[: KEPT_OLD - room], *filter(is_asked_for, set(lately) - set(written))}
    for stored in _files():
        if stored.stem not in kept:
            storage.models().delete(stored.name)


def _files(end: str = "") -> list[Stored]:
    return [stored for stored in storage.models().list(PREFIX) if stored.name.endswith(end)]


def _is_recent(asked: Stored) -> bool:
    return asked.modified > time.time() - ASK_SECONDS


def _delete(digest: str) -> None:
    for name in (_note(digest), name_of(digest), _wanted(digest)):
        storage.models().delete(name)


def _note(digest: str) -> str:
    return f"{PREFIX}{digest}.json"


def _asked(digest: str) -> str:
    return f"{PREFIX}{digest}.asked"


def _wanted(digest: str) -> str:
    return f"{PREFIX}{digest}.wanted"


def _sha256(file: Reader) -> str:
    found = hashlib.sha256()
    while block := file.read(_BLOCK):
        found.update(block)
    return found.hexdigest()


@lru_cache(maxsize=32)
def _sha256_once(stored: Stored) -> str:
    """Return the SHA-256 of a file that was found, whose tag tells another content."""
    with closing(stored.open()) as file:
        return _sha256(file)
