"""Uploads that are sent again and again over a line that breaks: what every answer was, and what the hub has then."""

import json
import random
import secrets
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from typing import Any
from uuid import UUID

from hospintel_core import weights
from hospintel_core.plan import Manifest, SignedManifest
from tools import stand_in
from tools.stand_in import StandIn

ANSWER_SECONDS = 120
THREADS = 8
MOST_SENDS = 5
Ask = tuple[int, dict[str, Any]]


@dataclass(frozen=True)
class Upload:
    """One sealed update, and whose it is."""

    member: StandIn
    round_id: UUID
    sealed: bytes

    @property
    def digest(self) -> str:
        return weights.digest(self.sealed)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.member.token}"}


@dataclass
class Told:
    """What the hub said: every status, and the final answers to each upload by the way it was sent."""

    statuses: Counter[int] = field(default_factory=Counter)
    answers: dict[tuple[str, str], list[Ask]] = field(default_factory=lambda: defaultdict(list))
    sends: int = 0
    broken: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


def ask(port: int, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> Ask:
    """One request on a connection of its own."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)) as line:
        line.request(method, path, body, {**headers, "Connection": "close"})
        answer = line.getresponse()
        data = answer.read()
        return answer.status, json.loads(data) if data else {}


def poll(port: int, slug: str, member: StandIn) -> Manifest | None:
    """The task that the hub has for an agent."""
    headers = {"Authorization": f"Bearer {member.token}"}
    status, found = ask(port, "GET", f"/api/v1/federations/{slug}/task?wait=20", headers)
    if status == 204:
        return None
    assert status == 200, found
    return Manifest.from_bytes(SignedManifest.from_wire(found).body)


def seal(member: StandIn, manifest: Manifest) -> Upload:
    """An honest update of a member, but for the training."""
    return Upload(member, manifest.round_id, stand_in.seal(member, manifest, "pixels-head16"))


class Sender:
    """Sends uploads over the line at `port`, as an agent does after each break: it asks how much is there, goes on."""

    def __init__(self, port: int, told: Told) -> None:
        self._port = port
        self._told = told

    def _ask(self, upload: Upload, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> Ask:
        status, found = ask(self._port, method, path, {**upload.headers, **headers}, body)
        with self._told.lock:
            self._told.statuses[status] += 1
        return status, found

    def in_parts(self, upload: Upload, rng: random.Random) -> Ask:
        path = f"/api/v1/rounds/{upload.round_id}/update"
        length = len(upload.sealed)
        about = {"Upload-Length": str(length), "Upload-Digest": upload.digest}
        offset = int(self._ask(upload, "GET", f"{path}?digest={upload.digest}", {})[1]["received"])
        size = rng.randrange(length // 4, length + 1)
        while True:
            part = upload.sealed[offset : offset + size]
            status, found = self._ask(upload, "PUT", f"{path}?offset={offset}", about, part)
            if status == 200 or found.get("code") == "offset_mismatch":
                offset = int(found["received"])
            elif found.get("code") == "upload_busy":
                # Another thread is completing the same bytes.
                time.sleep(0.01)
            else:
                return status, found

    def whole(self, upload: Upload, rng: random.Random) -> Ask:
        border = secrets.token_hex(16)
        name = 'form-data; name="file"; filename="update.hspu"'
        head = f"--{border}\r\nContent-Disposition: {name}\r\nContent-Type: application/octet-stream\r\n\r\n"
        body = head.encode() + upload.sealed + f"\r\n--{border}--\r\n".encode()
        kind = {"Content-Type": f"multipart/form-data; boundary={border}"}
        while True:
            status, found = self._ask(upload, "POST", "/update", kind, body)
            # The same bytes are on their way twice, and the row of the others is not there yet.
            if found.get("code") != "upload_busy":
                return status, found

    def send(self, upload: Upload, seed: str) -> bool:
        """Once, by either way; whether the answer came."""
        rng = random.Random(seed)
        way: Callable[[Upload, random.Random], Ask] = rng.choice((self.in_parts, self.whole))
        with self._told.lock:
            self._told.sends += 1
        try:
            answer = way(upload, rng)
        except (OSError, HTTPException, ValueError):
            with self._told.lock:
                self._told.broken += 1
            return False
        with self._told.lock:
            self._told.answers[upload.digest, way.__name__].append(answer)
        return True


def send_all(uploads: list[Upload], port: int, *, seed: int) -> Told:
    """Send each one to five times from eight threads, then each again until it was answered.

    All sends of every second one follow each other, so that the same bytes are on their way several times at once.
    """
    rng, told = random.Random(seed), Told()
    sender = Sender(port, told)
    jobs = []
    for place, upload in enumerate(uploads):
        sends = [(upload, f"{seed}:{place}:{number}") for number in range(rng.randint(1, MOST_SENDS))]
        jobs += [(place if place % 2 else rng.randrange(len(uploads)), *send) for send in sends]
    jobs.sort(key=lambda job: job[0])
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda job: sender.send(*job[1:]), jobs))
        list(pool.map(lambda upload: _until_answered(sender, upload, seed), uploads))
    return told


def _until_answered(sender: Sender, upload: Upload, seed: int) -> None:
    known = {digest for digest, _ in sender._told.answers}
    number = MOST_SENDS
    while upload.digest not in known and not sender.send(upload, f"{seed}:{upload.digest}:{number}"):
        number += 1
