"""Open the next round of a run as soon as enough agents are online."""

import base64
import logging
import uuid
from contextlib import suppress
from uuid import UUID

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.db import IntegrityError
from django.utils import timezone

from apps.audit.api import Conflict, advance, record, transaction
from apps.federation.models import Federation, ModelVersion, Round, Run
from apps.federation.models.keys import HubKey
from apps.federation.pipeline import keys, storage
from apps.federation.pipeline.choose import Asked, awaited, choose
from apps.federation.pipeline.step import Next
from apps.federation.states import RoundState, RunState
from hospintel_core import architectures, codecs, envelope, signing
from hospintel_core.errors import CoreError
from hospintel_core.failpoints import reach
from hospintel_core.plan import Manifest, Plan, SignedManifest, sign_manifest
from hospintel_core.weights import Schema

logger = logging.getLogger(__name__)
ATTEMPTS = 6  # 1 accepted + 5 refused a round and agent
BODY_SLACK = 64 * 1024


def wire_schema(federation: Federation) -> Schema:
    """Return the schema of an update's payload: codec x architecture."""
    return codecs.get(federation.codec).wire_schema(architectures.get(federation.architecture).head_schema)


def max_body(federation: Federation) -> int:
    """Return the most bytes that a sealed update of this federation may have."""
    return min(envelope.sealed_size(wire_schema(federation).nbytes) + 2 * BODY_SLACK, envelope.MAX_SIZE)


def build_manifest(
    kind: str,
    *,
    run: Run,
    round_id: UUID,
    number: int,
    version: ModelVersion,
    deadline_ms: int | None = None,
    round_public: bytes = b"",
) -> SignedManifest:
    """Sign what the agents are asked to do. Worker, tick and commands only: it reads the identity key."""
    federation = run.federation
    train = kind == "train"
    manifest = Manifest(
        kind="train" if train else "evaluate",
        federation_id=federation.uuid,
        federation=federation.slug,
        run_id=run.pk,
        round_id=round_id,
        round=number,
        model=version.digest,
        version=version.number,
        architecture=federation.architecture,
        classes=tuple(federation.classes),
        plan=Plan.from_dict(run.plan),
        codec=federation.codec,
        schema=wire_schema(federation).digest.hex(),
        rule=federation.rule,
        rsa_public_key=keys.rsa_public().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        if train
        else "",
        round_public_key=base64.b64encode(round_public).decode(),
        issued_ms=int(timezone.now().timestamp() * 1000),
        deadline_ms=deadline_ms,
        max_bytes=max_body(federation),
        attempts=ATTEMPTS,
    )
    return sign_manifest(manifest, keys.identity_private())


def open_round(run_id: UUID) -> list[Next]:
    """Open the next round of a run where it is due; safe to call at any time, any number of times.

    Nothing happens unless the run is RUNNING, has no active round, wants another published one, and at least
    `min_updates` agents are online. An idle hub fails nothing.
    """
    run = Run.objects.select_related("federation__current").get(pk=run_id)
    federation = run.federation
    if run.state != RunState.RUNNING or federation.current is None or run.all_rounds.active().exists():
        return []
    published = list(run.all_rounds.filter(state=RoundState.PUBLISHED).order_by("number"))
    if len(published) >= run.rounds:
        return [Next("finish_run", published[-1].pk)]
    there, number = awaited(federation), len(published) + 1
    if len(there) >= federation.min_updates and _is_whole(run, federation.current):
        _create_round(run, federation.current, number, choose(run, number, there))
    return []


def _is_whole(run: Run, base: ModelVersion) -> bool:
    """Return whether the file of the base is what was published; a run without one pauses before anybody trains."""
    try:
        storage.read_head(base.digest, architectures.get(run.federation.architecture).head_schema)
    except CoreError as error:
        logger.exception("%s cannot go on from %s: %s", run, base, error.code)
        with suppress(Conflict), transaction():
            advance(run, RunState.PAUSED, actor="system:round", objects=[base], reason=error.code)
        return False
    return True


def _create_round(run: Run, base: ModelVersion, number: int, asked: Asked) -> None:
    round_id = uuid.uuid4()
    round_key = keys.create_round_key(round_id)
    reach("open.key_made")
    public = signing.public_raw(round_key.public_key())
    signed = build_manifest("train", run=run, round_id=round_id, number=number, version=base, round_public=public)
    attempt = run.all_rounds.filter(number=number).count() + 1
    try:
        with transaction():
            _still_wanted(run, base)
            round_ = Round.objects.create(
                id=round_id,
                run=run,
                number=number,
                attempt=attempt,
                base=base,
                expected=list(asked.agents),
                selection=run.federation.selection,
                wanted=asked.wanted,
                round_kid=signing.key_id(round_key.public_key()).hex(),
                rsa_kid=keys.active_key(HubKey.Kind.RSA).kid,
                manifest=signed.body,
                manifest_signature=signed.signature,
                manifest_kid=signed.kid.hex(),
                opened_at=timezone.now(),
            )
            record(
                "round.open",
                actor="system:round",
                obj=round_,
                federation=run.federation.slug,
                number=number,
                attempt=attempt,
                version=base.number,
                expected=len(asked.agents),
                required=run.federation.min_updates,
                selection=run.federation.selection,
                wanted=asked.wanted,
            )
            reach("open.before_commit")
    except (IntegrityError, Conflict):
        # Another process opened it in the same moment, and its round is as good as ours; or it is not wanted any more.
        keys.erase_round_key(round_id)
    reach("open.committed")


def _still_wanted(run: Run, base: ModelVersion) -> None:
    """Hold the run and the current version as they were read, until the commit: both rows are locked by touching them.

    Raises:
        Conflict: the run was paused or aborted, or another version was published.
    """
    running = Run.objects.filter(pk=run.pk, state=RunState.RUNNING).update(rounds=run.rounds)
    current = Federation.objects.filter(pk=run.federation_id, current=base).update(current=base)
    if not (running and current):
        raise Conflict("The run or its base has moved.")
