"""The agent as a witness: it keeps the hub's last signed checkpoint and asks whether the audit still agrees.

A hub that was restored from an older backup, or whose history somebody changed or cut off, cannot hide it from who kept
what it signed. The agent says so and goes on: whether it was a restore that everybody knew of, people know.
"""

import logging
import os
from datetime import UTC, datetime
from typing import Final

from client_agent.agent import Agent
from client_agent.config import Home, write_private
from client_agent.errors import HubRefusedError, HubUnreachableError, UntrustedError, storing
from client_agent.hub import CONTRADICTIONS, FORKED
from hospintel_core import identity, signing
from hospintel_core.checkpoint import Note
from hospintel_core.errors import SignatureError

log = logging.getLogger(__name__)

EVERY_SECONDS: Final = 60.0
TOLD: Final = frozenset({"agent_revoked", "token_invalid", "not_found"})
_FOUND: Final = {
    "audit_behind": "the hub's audit ends before entry {seq}, which it had signed on {when}",
    "audit_forked": "the hub's audit contradicts what it had signed up to entry {seq} on {when}",
}
_HINT: Final = (
    "ask the hub's administrator whether it was restored from a backup; if not, somebody changed its history. "
    "The proof is contradicted.jsonl in the agent's home: move it away when it is settled"
)


class Witness:
    """Asks at most once a minute."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._asked: float | None = None

    def look(self) -> None:
        """Ask, if it is time. What contradicts is logged and kept; nothing that the agent does depends on it.

        Raises:
            StorageError: the checkpoint cannot be kept.
        """
        now = self._agent.clock.monotonic()
        if self._asked is not None and now - self._asked < EVERY_SECONDS:
            return
        kept = kept_checkpoint(self._agent.home)
        try:
            state, newest = self._agent.hub.checkpoint(kept)
            signed = newest is not None and self._is_signed(newest)
        except HubUnreachableError as error:
            # The poll meets it too, and tells; then it is asked again at once.
            log.debug("the hub's audit was not compared: %s (%s)", error.detail, error.code)
            return
        except (HubRefusedError, UntrustedError) as error:
            self._asked = now
            # The poll meets it too, and tells; a hub of an older version does not know the call.
            level = logging.DEBUG if error.code in TOLD else logging.WARNING
            log.log(level, "the hub's audit was not compared: %s (%s)", error.detail, error.code)
            return
        self._asked = now
        if kept is not None and newest is not None and newest.seq == kept.seq and newest.entry_hash != kept.entry_hash:
            # Whatever it says of itself: it has signed both.
            state = FORKED
        if kept is not None and state in CONTRADICTIONS:
            self._complain(kept, state)
            kept = None
        self._keep(kept, newest if signed else None)

    def _keep(self, kept: Note | None, newest: Note | None) -> None:
        path = self._agent.home.checkpoint
        with storing("the hub's checkpoint"):
            if newest is not None and (kept is None or newest.seq > kept.seq):
                write_private(path, (newest.to_line() + "\n").encode())
            elif kept is None:
                path.unlink(missing_ok=True)

    def _complain(self, kept: Note, code: str) -> None:
        with storing("the hub's contradicted checkpoint"):
            descriptor = os.open(self._agent.home.contradicted, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write((kept.to_line() + "\n").encode())
                file.flush()
                os.fsync(file.fileno())
        error = contradiction(kept, code)
        log.error("%s (%s); %s", error.detail, error.code, error.hint)

    def _is_signed(self, note: Note) -> bool:
        key = self._agent.config.identity
        try:
            if note.kid != signing.key_id(key).hex():
                # After a rotation, until the new identity has signed one.
                found = identity.follow(key, self._agent.hub.identities(), bytes.fromhex(note.kid))
                if found is None:
                    return False
                key = found
            note.verify(key)
        except (SignatureError, ValueError) as error:
            log.error("the hub's checkpoint at entry %d is not signed by it: %s", note.seq, error)  # noqa: TRY400
            return False
        return True


def contradiction(kept: Note, code: str = FORKED) -> UntrustedError:
    """What is said of a checkpoint that the hub's audit contradicts."""
    when = datetime.fromtimestamp(kept.ts_us / 1_000_000, UTC)
    return UntrustedError(code, _FOUND[code].format(seq=kept.seq, when=f"{when:%Y-%m-%d %H:%M} UTC"), _HINT)


def unsettled(home: Home) -> UntrustedError | None:
    """What the hub's audit contradicts and nobody has settled yet."""
    try:
        notes = [Note.from_line(line) for line in home.contradicted.read_text().splitlines()]
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        return UntrustedError("audit_forked", f"{home.contradicted} cannot be read: {error}", _HINT)
    return contradiction(notes[-1]) if notes else None


def kept_checkpoint(home: Home) -> Note | None:
    """The last checkpoint that was seen; None before the first, or where the file cannot be read."""
    try:
        return Note.from_line(home.checkpoint.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        log.warning("the kept checkpoint cannot be read and is kept anew: %s", error)
        return None
