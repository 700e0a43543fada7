"""From the kept delta to the hub's word on it: seal, upload in parts, learn what became of it."""

import logging
from pathlib import Path
from typing import Final

from client_agent.agent import Agent
from client_agent.config import write_private
from client_agent.errors import FINAL_REFUSALS, HubRefusedError, HubUnreachableError, storing
from client_agent.hub import ENDED, LIVE, LONG_POLL, TAKEN, Received, UpdateStatus
from client_agent.journal import ASKED_OTHERS, NOT_SELECTED, Row, State
from client_agent.task import Task
from client_agent.train import delta_path, load_delta
from hospintel_core import envelope, weights
from hospintel_core.failpoints import reach

log = logging.getLogger(__name__)

# The hub takes what was sealed within 15 minutes of its own time; the last part needs some of them to travel.
SEAL_AGE_MS: Final = 14 * 60 * 1000
# Each pause is about a quarter of the time waited so far, so that nobody notices how long the last one was.
POLL_FIRST: Final = 0.05
POLL_GROWTH: Final = 1.3
POLL_LAST: Final = 2.0
MAX_REWINDS: Final = 5
# Failures of a part that a smaller one may not have.
BROKEN: Final = frozenset({"connection_cut", "hub_timeout"})
# How a round goes on, or has ended, without this agent: nothing is wrong with any of them.
_ENDS: Final = {
    "round_closed": "the round ended without this update",
    "run_aborted": "the run was aborted",
    "not_needed": "enough other updates were in: the round closed without this one, and nothing is wrong",
    NOT_SELECTED: ASKED_OTHERS,
}
# Refusals that are about this seal and not about the delta: another nonce, time or transfer can be accepted.
RETRY_HELPS: Final = frozenset({"update_refused", "clock_skew", "replayed", "digest_mismatch"})


def seal(agent: Agent, task: Task, row: Row) -> Row:
    """TRAINED -> SEALED: the delta encrypted to the hub and signed, in a file, under a new sequence number.

    Asks first whether the round still wants it: EXPIRED or REFUSED if not, UPLOADED where the hub has one already.
    TASK where the delta's file is gone.
    """
    status = _status(agent, row)
    if status is None or not (status.collecting or status.state in LIVE):
        return _expired(agent, row, status.code if status else "")
    if status.state in LIVE:
        return agent.journal.advance(row, State.UPLOADED)
    if status.attempts_left == 0:
        code = row.code or "too_many_attempts"
        return agent.journal.advance(row, State.REFUSED, code=code, detail=row.detail or "no attempt is left")
    kept = load_delta(agent, task, row)
    if kept is None:
        log.warning("%s: the kept delta is gone, it is trained again", task.name)
        return agent.journal.advance(row, State.TASK)
    delta, report = kept
    now_ms = agent.clock.now_ms()
    fields = envelope.new_header(
        federation_id=task.manifest.federation_id,
        agent_id=agent.config.agent_id,
        round_id=row.round_id,
        base_model=bytes.fromhex(task.manifest.model),
        schema=bytes.fromhex(task.manifest.schema),
        num_samples=row.samples,
        attempt=row.attempt + 1,
        seq=agent.journal.next_seq(),
        now_ms=now_ms,
    )
    sealed = envelope.seal(
        weights.dumps(task.codec.encode(delta), {"report": report}),
        fields,
        rsa_public=task.rsa_public,
        round_public=task.round_public,
        signing_key=agent.key,
    )
    if len(sealed) > task.manifest.max_bytes:
        detail = f"the sealed update has {len(sealed):,} bytes, the hub takes {task.manifest.max_bytes:,}"
        return agent.journal.advance(row, State.REFUSED, code="update_too_large", detail=detail)
    with storing("the sealed update"):
        write_private(_sealed_path(agent, row), sealed)
    reach("agent.sealed_kept")
    return agent.journal.advance(
        row, State.SEALED, attempt=row.attempt + 1, sealed_ms=now_ms, sealed_digest=weights.digest(sealed)
    )


def upload(agent: Agent, task: Task, row: Row) -> Row:
    """SEALED -> UPLOADED, going on from the byte that the hub has; TRAINED where it must be sealed again.

    Raises:
        HubUnreachableError: the upload is unfinished; call again.
    """
    sealed = _read_sealed(agent, row)
    if sealed is None:
        return agent.journal.advance(row, State.TRAINED)
    status = _status(agent, row, row.sealed_digest)
    if status is None or not (status.collecting or status.state in LIVE):
        return _expired(agent, row, status.code if status else "")
    if status.state in LIVE:
        return agent.journal.advance(row, State.UPLOADED)
    offset, complete, rewinds = min(status.received, len(sealed)), False, 0
    with agent.display.stage(f"{task.name}: upload", "bytes") as show:
        while not complete:
            show(offset, len(sealed))
            agent.stop.check()
            if abs(agent.clock.now_ms() - row.sealed_ms) > SEAL_AGE_MS:
                return _too_old(agent, task, row, offset, len(sealed))
            try:
                offset, complete = _put(agent, row, sealed, offset)
            except HubRefusedError as error:
                if error.code != "offset_mismatch":
                    return _refused(agent, task, row, error)
                offset, rewinds = _offset(error, len(sealed)), rewinds + 1
            if offset > len(sealed) or rewinds > MAX_REWINDS:
                raise HubUnreachableError("hub_busy", "the hub and the agent do not agree where the upload goes on")
            agent.backoff.reset()
            reach("agent.part_sent")
    log.info("%s: uploaded %s bytes (attempt %d)", task.name, f"{len(sealed):,}", row.attempt)
    return agent.journal.advance(row, State.UPLOADED)


def _put(agent: Agent, row: Row, sealed: bytes, offset: int) -> Received:
    """Upload one part, as large as the line makes sensible."""
    part = slice(offset, min(offset + agent.parts.size, len(sealed)))
    began = agent.clock.monotonic()
    try:
        done = agent.hub.put_part(row.round_id, sealed, row.sealed_digest, part, agent.parts.timeout)
    except HubUnreachableError as error:
        if error.code in BROKEN:
            agent.parts.broke()
        raise
    agent.parts.sent(part.stop - part.start, agent.clock.monotonic() - began)
    return done


def _too_old(agent: Agent, task: Task, row: Row, offset: int, size: int) -> Row:
    log.warning(
        "%s: the seal is too old for the hub by now, sealing again; %s of %s bytes had been sent in %d minutes",
        *(task.name, f"{offset:,}", f"{size:,}", SEAL_AGE_MS // 60_000),
    )
    return agent.journal.advance(row, State.TRAINED)


def learn(agent: Agent, task: Task, row: Row) -> Row:
    """UPLOADED -> ACCEPTED, REFUSED or EXPIRED as the hub decides; TRAINED where another attempt can help.

    Asks again after 0.05 s, then ever more slowly up to every 2 s.
    """
    pause = POLL_FIRST
    while True:
        status = _status(agent, row, wait=LONG_POLL)
        if status is None:
            return _expired(agent, row)
        if status.state in TAKEN:
            return agent.journal.advance(row, State.ACCEPTED, code="", detail="")
        if status.state == "REFUSED":
            return _refused(agent, task, row, HubRefusedError(status.code, status.detail))
        if status.state is None and not status.collecting:
            return _expired(agent, row, status.code)
        if status.state is None:
            return _again(agent, task, row, "update_lost", "the hub no longer has the update")
        agent.clock.wait(pause)
        pause = min(pause * POLL_GROWTH, POLL_LAST)


def discard(agent: Agent, row: Row) -> None:
    """Delete the delta and the sealed update of a task that has ended."""
    for path in (delta_path(agent, row), _sealed_path(agent, row)):
        path.unlink(missing_ok=True)


def _status(agent: Agent, row: Row, digest: str = "", wait: int = 0) -> UpdateStatus | None:
    """The hub's word on the newest update, or on the upload with `digest`; None where it does not know the round."""
    try:
        return agent.hub.update(row.round_id, digest, wait)
    except HubRefusedError as error:
        if error.code in ENDED:
            return None
        raise


def _expired(agent: Agent, row: Row, code: str = "") -> Row:
    code = code if code in _ENDS else "round_closed"
    return agent.journal.advance(row, State.EXPIRED, code=code, detail=_ENDS[code])


def _refused(agent: Agent, task: Task, row: Row, error: HubRefusedError) -> Row:
    """What follows from a refusal.

    Raises:
        HubRefusedError: one that is about the agent and not about the update.
        HubUnreachableError: another request of this agent is finishing the same upload.
    """
    code, detail = error.code, error.detail
    if code in FINAL_REFUSALS:
        raise error
    if code == "upload_busy":
        raise HubUnreachableError("hub_busy", detail) from error
    if code in ENDED:
        return _expired(agent, row, code)
    if code == "update_exists":
        return agent.journal.advance(row, State.UPLOADED)
    log.warning("%s: the hub refused the update: %s (%s)", task.name, detail, code)
    if code in RETRY_HELPS and row.attempt < task.manifest.attempts:
        return _again(agent, task, row, code, detail)
    return agent.journal.advance(row, State.REFUSED, code=code, detail=detail)


def _again(agent: Agent, task: Task, row: Row, code: str, detail: str) -> Row:
    log.info("%s: sealing again", task.name)
    row = agent.journal.advance(row, State.TRAINED, code=code, detail=detail)
    agent.backoff.wait()
    return row


def _offset(error: HubRefusedError, size: int) -> int:
    received = error.body.get("received")
    return received if isinstance(received, int) and 0 <= received <= size else 0


def _sealed_path(agent: Agent, row: Row) -> Path:
    return agent.home.rounds / f"{row.round_id}.sealed"


def _read_sealed(agent: Agent, row: Row) -> bytes | None:
    try:
        sealed = _sealed_path(agent, row).read_bytes()
    except OSError:
        return None
    return sealed if weights.digest(sealed) == row.sealed_digest else None
