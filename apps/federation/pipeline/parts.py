"""Sealed updates that arrive in parts: each part is a file of its own, so any web process may take the next one."""

import hashlib
from dataclasses import dataclass
from uuid import UUID

from apps.federation.pipeline import storage
from apps.federation.pipeline.objects import Stored
from apps.federation.pipeline.step import Refusal

# Unfinished uploads of an agent in a round, so that a stolen token cannot fill the disk.
MOST_UPLOADS = 4


@dataclass(frozen=True)
class Upload:
    """The unfinished upload of one sealed update, by the SHA-256 of the whole."""

    round_id: UUID
    agent_id: UUID
    digest: str

    @property
    def _prefix(self) -> str:
        return f"{_of_agent(self.round_id, self.agent_id)}{self.digest}-"

    def _name(self, offset: int) -> str:
        return f"{self._prefix}{offset:012d}.part"

    def parts(self) -> list[Stored]:
        """Return the parts that follow each other from the beginning on."""
        here, found, by_name = 0, [], {part.name: part for part in storage.uploads().list(self._prefix)}
        # A part without bytes is never put.
        while (part := by_name.get(self._name(here))) is not None:
            found.append(part)
            here += part.size
        return found

    def received(self) -> int:
        """Return how many bytes are here."""
        return sum(part.size for part in self.parts())

    def add(self, data: bytes, offset: int) -> int:
        """Take a part. Returns how many bytes are here now.

        Raises:
            Refusal: `offset_mismatch` (409) where it does not begin where the parts before it end.
            OSError: it cannot be written; what was here before is here.
        """
        here = self.received()
        if offset != here:
            raise Refusal("offset_mismatch", f"{here} bytes are here; go on from there.", 409, received=here)
        if here == 0:
            self._make_room()
        if data:
            # What a power failure takes of a part, the digest of the whole tells.
            storage.uploads().put(self._name(offset), data, lasting=False)
        return offset + len(data)

    def whole(self, length: int) -> bytes:
        """Return the whole, whose bytes are those that were announced; parts of another whole are forgotten.

        Raises:
            Refusal: `digest_mismatch` (422), or `upload_busy` (409) where another request completes the same upload.
        """
        try:
            whole = b"".join(storage.uploads().get(part.name) for part in self.parts())
        except FileNotFoundError as error:
            raise _busy() from error
        if len(whole) != length:
            raise _busy()
        if hashlib.sha256(whole).hexdigest() != self.digest:
            self.forget()
            raise Refusal("digest_mismatch", "The bytes that arrived are not those that were announced.", 422)
        return whole

    def forget(self) -> None:
        """Delete the parts, the last first: what is left where this is cut off goes on from its end."""
        for part in reversed(self.parts()):
            storage.uploads().delete(part.name)

    def _make_room(self) -> None:
        """Forget the uploads that nobody went on with, of which an agent and round may have a few."""
        newest: dict[str, float] = {}
        files = storage.uploads().list(_of_agent(self.round_id, self.agent_id))
        for part in files:
            newest[_digest(part)] = max(part.modified, newest.get(_digest(part), 0.0))
        newest.pop(self.digest, None)
        kept = sorted(newest, key=lambda digest: newest[digest], reverse=True)[: MOST_UPLOADS - 1]
        for part in files:
            if _digest(part) not in {*kept, self.digest}:
                storage.uploads().delete(part.name)


def forget_round(round_id: UUID) -> None:
    """Delete the unfinished uploads of a round."""
    for part in storage.uploads().list(f"parts/{round_id}-"):
        storage.uploads().delete(part.name)


def forget_old(before: float) -> None:
    """Delete the parts that were put before a time."""
    for part in storage.uploads().list("parts/", before):
        storage.uploads().delete(part.name)


def _of_agent(round_id: UUID, agent_id: UUID) -> str:
    return f"parts/{round_id}-{agent_id}-"


def _digest(part: Stored) -> str:
    return part.stem.rsplit("-", 2)[1]


def _busy() -> Refusal:
    return Refusal("upload_busy", "Another request is completing this upload.", 409)
