"""Sign where the audit stands, with the hub's identity. Worker, tick and commands only: it reads the private key."""

import logging

from django.conf import settings

from apps.audit import checkpoints
from apps.federation.models import HubKey
from apps.federation.pipeline import keys
from hospintel_core import signing
from hospintel_core.checkpoint import Note

logger = logging.getLogger(__name__)


def sign() -> Note | None:
    """Make a checkpoint of the audit, unless one stands there already. Returns the newest one.

    A chain that does not hold is not signed: the log says so each time, and `verify_audit` says where.
    """
    before = checkpoints.newest()
    key, kid = keys.identity_private(), keys.active_key(HubKey.Kind.IDENTITY).kid
    try:
        note = checkpoints.make((kid, lambda body: signing.sign(signing.DOMAIN_CHECKPOINT, body, key)))
    except checkpoints.ChainBroken as broken:
        logger.critical("The audit does not hold and is not signed: %s. Run manage.py verify_audit.", broken)
        return None
    if note is not None and note != before:
        _add_to_file(note)
    return note


def _add_to_file(note: Note) -> None:
    """Add a checkpoint to the file that is kept elsewhere; two processes may both add it, and the hub goes on without.

    A line is written at once, at the file's end: writers of several processes do not mix theirs.
    """
    try:
        with settings.CHECKPOINT_FILE.open("ab", buffering=0) as file:
            file.write((note.to_line() + "\n").encode())
    except OSError as error:
        logger.warning("The checkpoint at entry %d cannot be added to its file: %s", note.seq, error)
