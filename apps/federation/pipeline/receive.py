"""Receive a sealed update in the web process: signature, limits, replay row, ciphertext stored. Nothing is decrypted.

The order of checks is that of docs/wire-format.md: the cheap ones first, the signature before anything that
depends on what the header says.
"""

import uuid
from contextlib import suppress
from uuid import UUID

from django.db import DatabaseError, IntegrityError
from django.utils import timezone

from apps.audit.api import record, transaction
from apps.federation.models import Agent, Round, Update
from apps.federation.pipeline import storage
from apps.federation.pipeline.choose import is_asked
from apps.federation.pipeline.objects import StorageAwayError
from apps.federation.pipeline.open_round import ATTEMPTS, max_body, wire_schema
from apps.federation.pipeline.step import Next, Refusal
from apps.federation.states import RoundState, UpdateState
from hospintel_core import envelope
from hospintel_core.envelope import Header
from hospintel_core.errors import EnvelopeError
from hospintel_core.failpoints import reach

CLOCK_WINDOW_MS = 15 * 60 * 1000
CRYPTO_TEXT = "The update was refused."
# What a column holds: the header's own fields are wider, and `seq` and `attempt` are informative only.
MAX_INT = 2**31 - 1
MAX_BIGINT = 2**63 - 1


def _crypto(code: str) -> Refusal:
    return Refusal(code, CRYPTO_TEXT, 422, public_code="update_refused")


def round_for(agent: Agent, round_id: UUID) -> Round:
    """Return a round of a federation in which the agent's hospital takes part.

    Raises:
        Refusal: `round_unknown` (404), whether it exists or not.
    """
    round_ = (
        Round.objects.select_related("run__federation", "base")
        .filter(pk=round_id, run__federation__participations__hospital=agent.hospital_id)
        .first()
    )
    if round_ is None:
        raise Refusal("round_unknown", "There is no such round.", 404)
    return round_


def existing(agent: Agent, round_id: UUID, digest: str) -> Update | None:
    """Return the agent's update with these sealed bytes, if it was received before."""
    return Update.objects.filter(agent=agent, round=round_id, digest=digest).first()


def check_open(agent: Agent, round_: Round) -> None:
    """Check whether the agent may still upload to the round, before any byte is taken.

    Raises:
        Refusal: `round_closed`, `not_needed`, `not_selected`, `update_exists` (409) or `too_many_attempts` (429).
    """
    if round_.state != RoundState.COLLECTING:
        if round_.is_full:
            raise Refusal("not_needed", UNUSED_TEXTS["not_needed"], 409)
        raise Refusal("round_closed", "This round no longer takes updates.", 409)
    if not is_asked(agent, round_):
        raise Refusal("not_selected", UNUSED_TEXTS["not_selected"], 409)
    own = Update.objects.filter(round=round_, agent=agent)
    if own.live().exists():
        raise Refusal("update_exists", "This round has an update of this agent already.", 409)
    if own.count() >= ATTEMPTS:
        raise Refusal("too_many_attempts", "Too many updates of this agent were refused in this round.", 429)


def admit(agent: Agent, round_: Round, digest: str) -> Update | None:
    """Return the update that these sealed bytes have become, or None where the round may take them.

    Raises:
        Refusal: as `check_open`.
    """
    known = existing(agent, round_.pk, digest)
    if known is None:
        try:
            check_open(agent, round_)
        except Refusal:
            # A request with the same bytes may have finished between the two looks.
            known = existing(agent, round_.pk, digest)
            if known is None:
                raise
    return known


def attempts_left(agent: Agent, round_: Round) -> int:
    """Return how many uploads the agent has left in the round."""
    return max(0, ATTEMPTS - Update.objects.filter(round=round_, agent=agent).count())


def receive(
    agent: Agent, data: bytes, digest: str, *, round_id: UUID | None = None, now_ms: int | None = None
) -> tuple[Update, list[Next]]:
    """Check a complete upload and make it an update.

    Args:
        agent: the agent whose token came with it.
        data: the sealed bytes.
        digest: their SHA-256, computed by the caller.
        round_id: the round to which the caller uploaded, where the address names one.
        now_ms: Unix time in milliseconds; the present where not given.

    Returns:
        The update in state RECEIVED (or, for a repeated upload, as it is), and the steps that follow.

    Raises:
        Refusal: with the code of the first check that failed.
        OSError: it cannot be stored; nothing of it is left.
    """
    now = int(timezone.now().timestamp() * 1000) if now_ms is None else now_ms
    header = _verified_header(agent, data)
    if round_id is not None and header.round_id != round_id:
        raise Refusal("wrong_round", "The update is sealed for another round.", 422)
    round_ = round_for(agent, header.round_id)
    known = admit(agent, round_, digest)
    if known is not None:
        return known, []
    code = _header_fault(header, round_, agent, now)
    update = _insert(header, round_, agent, data, digest, refused=code)
    reach("receive.committed")
    if code and update.state == UpdateState.REFUSED:
        storage.discard_sealed(update.pk)
        raise Refusal(code, HEADER_TEXTS[code], 422, recorded=True)
    return update, [Next("inspect", update.pk)]


def _verified_header(agent: Agent, data: bytes) -> Header:
    try:
        header = envelope.verify(data, agent.key)
    except EnvelopeError as error:
        raise _crypto(error.code) from error
    if header.agent_id != agent.pk:
        raise _crypto("other_agent")
    return header


UNUSED_TEXTS = {
    "round_closed": "The round ended before the update could count.",
    "not_needed": "Enough other updates were in: the round closed without this one. Nothing is wrong.",
    "not_selected": "This round asks other agents. Nothing is wrong.",
    "run_aborted": "The run was aborted before the update was used.",
}
HEADER_TEXTS = {
    "wrong_federation": "The update is for another federation.",
    "clock_skew": "The update was sealed more than 15 minutes from the hub's time. Check the clock and seal again.",
    "wrong_base": "The update starts from another model than this round's.",
    "wrong_schema": "The update has other tensors than this round's model.",
    "wrong_round_key": "The update is sealed to another round's key.",
    "wrong_rsa_key": "The update is sealed to another RSA key than this round's.",
    "num_samples_range": "The number of samples is outside what this agent was enrolled for.",
    "update_too_large": "The update is larger than this round's model can be.",
}


def _header_fault(header: Header, round_: Round, agent: Agent, now_ms: int) -> str:
    """Return the code of the first thing that is wrong with a verified header, or an empty string."""
    federation = round_.run.federation
    checks = (
        ("wrong_federation", header.federation_id == federation.uuid),
        ("clock_skew", abs(now_ms - header.issued_ms) <= CLOCK_WINDOW_MS),
        ("wrong_base", header.base_model.hex() == round_.base.digest),
        ("wrong_schema", header.schema == wire_schema(federation).digest),
        ("wrong_round_key", header.round_kid.hex() == round_.round_kid),
        ("wrong_rsa_key", header.rsa_kid.hex() == round_.rsa_kid),
        ("num_samples_range", 1 <= header.num_samples <= agent.max_samples),
        ("update_too_large", envelope.sealed_size(header.payload_len) <= max_body(federation)),
    )
    return next((code for code, holds in checks if not holds), "")


def _insert(header: Header, round_: Round, agent: Agent, data: bytes, digest: str, *, refused: str) -> Update:
    """Insert the replay row; the ciphertext is stored under the row's id before the row exists."""
    now = timezone.now()
    update = Update(
        id=uuid.uuid4(),
        round=round_,
        agent=agent,
        state=UpdateState.REFUSED if refused else UpdateState.RECEIVED,
        code=refused,
        nonce=header.nonce.hex(),
        seq=min(header.seq, MAX_BIGINT),
        attempt=min(header.attempt, MAX_INT),
        num_samples=min(header.num_samples, MAX_INT),
        digest=digest,
        size=len(data),
        received_at=now,
        decided_at=now if refused else None,
    )
    try:
        storage.store_sealed(update.pk, data)
        reach("receive.kept")
        with transaction():
            update.save(force_insert=True)
            if refused:
                record(
                    "update.refused",
                    actor=agent.actor,
                    obj=update,
                    objects=[round_],
                    outcome="refused",
                    visibility=agent.hospital.visibility,
                    code=refused,
                    size=update.size,
                )
            else:
                record("update.received", actor=agent.actor, obj=update, objects=[round_])
            reach("receive.before_commit")
    except BaseException as error:
        # What cannot be deleted now, the tick deletes.
        with suppress(StorageAwayError):
            if not _may_be_there(update):
                storage.discard_sealed(update.pk)
        if isinstance(error, IntegrityError):
            return _first_comer(agent, round_, digest, header.nonce, error)
        raise
    return update


def _may_be_there(update: Update) -> bool:
    """Return whether the row was committed; True also where a broken connection lets nobody know: the tick tidies."""
    try:
        return Update.objects.filter(pk=update.pk).exists()
    except DatabaseError:
        return True


def _first_comer(agent: Agent, round_: Round, digest: str, nonce: bytes, error: IntegrityError) -> Update:
    """Return the update of a request that sent the same bytes and was quicker; refuse what is not the same bytes."""
    known = existing(agent, round_.pk, digest)
    if known is not None:
        return known
    if Update.objects.filter(agent=agent, nonce=nonce.hex()).exists():
        raise Refusal("replayed", "This update was sent before.", 409) from error
    raise Refusal("update_exists", "This round has an update of this agent already.", 409) from error
