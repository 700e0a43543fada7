"""A model that a person uploads: kept in quarantine, read apart by a worker, proposed for review or refused."""

import hashlib
import logging
import time
import uuid
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
from django.db import IntegrityError
from django.db.models import F, Q
from django.utils import timezone

from apps.accounts.models import User
from apps.audit.api import Conflict, advance, record, transaction
from apps.federation.models import Federation, ModelVersion
from apps.federation.pipeline import storage
from apps.federation.pipeline.inspect import max_norm
from apps.federation.pipeline.membership import require_member
from apps.federation.pipeline.propose import propose, tidied
from apps.federation.pipeline.step import Next, Refusal
from apps.finetune.models import ModelUpload
from apps.finetune.pipeline import lease as leases
from apps.finetune.states import MODEL_UPLOAD_LIVE, ModelUploadState
from hospintel_core import apart, architectures, h5, screening, uploaded, weights
from hospintel_core.apart import Answer
from hospintel_core.architectures import Architecture
from hospintel_core.errors import ModelFileError
from hospintel_core.failpoints import reach

logger = logging.getLogger(__name__)
WORKER = "system:worker"
QUEUED_SECONDS = 15
ORPHAN_SECONDS = 3600
QUARANTINE = "models/"
_STARTS = (h5.MAGIC, b"PK\x03\x04")


def receive(
    user: User, chunks: Iterable[bytes], *, note: str = "", federation: Federation | None = None
) -> ModelUpload:
    """Put an uploaded file into quarantine, to be read by a worker. Nothing in it is looked at but its first bytes.

    Args:
        user: who uploads it, and has the fine-tuning lease.
        chunks: the file.
        note: what they say about it.
        federation: whose model it is; `brain-mri` where none is named.

    Raises:
        Refusal: `not_a_member` (403), `lease_lost` or `upload_waiting` (409), `note_long` (400),
            `body_too_large` (413), `model_unreadable` (422) for what is no .h5 or .keras file at all, or
            `hub_disk_full` (507).
    """
    federation = federation or leases.default_federation()
    require_member(user, federation)
    note = tidied(note)
    held = leases.current(federation)
    if held is None or held.holder_id != user.pk:
        raise leases.lost()
    if ModelUpload.objects.filter(federation=federation, state__in=MODEL_UPLOAD_LIVE).exists():
        raise _waiting()
    pk = uuid.uuid4()
    try:
        with storage.uploads().draft() as draft:
            size, digest = _write(draft, chunks)
            storage.uploads().put_file(name_of(pk), draft)
        reach("upload_model.kept")
        upload = _insert(pk, user, federation, note=note, size=size, digest=digest)
    except BaseException as error:
        discard(pk)
        if isinstance(error, OSError):
            raise storage.disk_refusal(error) from error
        raise
    reach("upload_model.committed")
    return upload


def _waiting() -> Refusal:
    return Refusal("upload_waiting", "The model that was uploaded before is still being read. Wait a moment.", 409)


def name_of(pk: UUID) -> str:
    """Return the name among the uploads under which the file of an upload lies until it has been read."""
    return f"{QUARANTINE}{pk}.model"


def discard(pk: UUID) -> None:
    """Delete the file of an upload; nothing happens where it is gone already."""
    storage.uploads().delete(name_of(pk))


def _write(path: Path, chunks: Iterable[bytes]) -> tuple[int, str]:
    """Write what comes into a file. Returns its size and SHA-256."""
    hasher, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        for chunk in chunks:
            if size == 0 and not chunk.startswith(_STARTS):
                raise Refusal("model_unreadable", apart.DETAILS["model_unreadable"], 422)
            size += len(chunk)
            if size > uploaded.MAX_BYTES:
                raise Refusal("body_too_large", f"A model has at most {uploaded.MAX_BYTES >> 20} MiB.", 413)
            hasher.update(chunk)
            file.write(chunk)
        if size == 0:
            raise Refusal("model_unreadable", "The file is empty.", 422)
    return size, hasher.hexdigest()


def _insert(pk: UUID, user: User, federation: Federation, *, note: str, size: int, digest: str) -> ModelUpload:
    try:
        with transaction():
            held = leases.held_by(user, federation)
            current = ModelVersion.objects.get(pk=Federation.objects.values_list("current").get(pk=federation.pk)[0])
            upload = ModelUpload.objects.create(
                id=pk,
                federation=federation,
                author=user,
                lease=held,
                parent=current,
                note=note,
                size=size,
                digest=digest,
                received_at=timezone.now(),
            )
            record(
                "model_upload.received",
                actor=user.actor,
                obj=upload,
                objects=[current],
                size=size,
                digest=digest,
                lease=held.token,
                visibility=upload.visibility,
            )
    except IntegrityError as error:
        raise _waiting() from error
    return upload


def read(upload_id: UUID) -> list[Next]:
    """Read a received file apart and propose its head, or refuse it; nothing happens where its state is another one.

    Raises:
        OSError, RuntimeError, StorageError: something other than the file is at fault; the tick tries again.
    """
    upload = _claim(upload_id)
    if upload is None:
        return []
    reach("read_model.begun")
    try:
        following = _decide(upload)
    except Conflict:
        # The tick gave it to another worker meanwhile: the file and the word are that one's.
        return []
    reach("read_model.decided")
    discard(upload.pk)
    return following


def _decide(upload: ModelUpload) -> list[Next]:
    """Read it, and propose or refuse it. Raises Conflict where somebody else has it by now."""
    architecture = architectures.get(upload.federation.architecture)
    answer: Answer | None = None
    try:
        answer = _ask(upload, architecture)
        digest = storage.store_head(weights.dumps(_judged(upload, answer, architecture)))
        reach("read_model.stored")
        return _propose(upload, digest, answer)
    except (ModelFileError, Refusal) as error:
        _refuse(upload, error.code, error.detail, answer)
    return []


def _claim(upload_id: UUID) -> ModelUpload | None:
    live = ModelUpload.objects.select_related("federation", "author", "parent").filter(state__in=MODEL_UPLOAD_LIVE)
    upload = live.filter(pk=upload_id).first()
    if upload is None:
        return None
    try:
        if upload.state == ModelUploadState.READING:
            _give_back(upload)
        with transaction():
            changes = {"tries": F("tries") + 1, "claimed_at": timezone.now()}
            advance(upload, ModelUploadState.READING, actor=WORKER, changes=changes, visibility=upload.visibility)
    except Conflict:
        return None
    return upload


def _ask(upload: ModelUpload, architecture: Architecture) -> Answer:
    try:
        with storage.uploads().local(name_of(upload.pk)) as path:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != upload.digest:
                raise Refusal("upload_lost", "The file on the hub is not the one that came. Upload it again.")
            answer = apart.ask(path, architecture)
    except FileNotFoundError as error:
        raise Refusal("upload_lost", "The file is no longer on the hub. Upload it again.") from error
    if not answer.isolated:
        logger.warning(
            "This kernel gives no namespaces: %s was read with limits on memory, time and files alone", upload
        )
    return answer


def _judged(upload: ModelUpload, answer: Answer, architecture: Architecture) -> weights.Arrays:
    """Return the head that was read, if it could be the next version. Raises ModelFileError or Refusal."""
    head = apart.head_of(answer, architecture)
    parent = storage.read_head(upload.parent.digest, architecture.head_schema)
    # As an update would be: by how far it has moved. `propose` looks at the head itself.
    delta = {name: np.subtract(head[name], parent[name]) for name in head}
    findings = screening.screen(delta, architecture.head_schema, max_norm=max_norm(upload.federation))
    if findings:
        raise Refusal(findings[0].code, findings[0].detail)
    return head


def _propose(upload: ModelUpload, digest: str, answer: Answer) -> list[Next]:
    def proposed(version: ModelVersion) -> None:
        changes = {"version": version, "decided_at": timezone.now(), **_cost(answer)}
        advance(upload, ModelUploadState.PROPOSED, actor=WORKER, changes=changes, objects=[version], **_cost(answer))

    return propose(
        upload.federation,
        digest=digest,
        source=ModelVersion.Source.UPLOAD,
        parent=upload.parent,
        author=upload.author,
        note=upload.note,
        also=proposed,
    )[1]


def _refuse(upload: ModelUpload, code: str, detail: str, answer: Answer | None) -> None:
    cost = _cost(answer) if answer else {}
    changes = {"code": code, "detail": detail[:200], "decided_at": timezone.now(), **cost}
    with transaction():
        advance(
            upload,
            ModelUploadState.REFUSED,
            actor=WORKER,
            changes=changes,
            outcome="refused",
            visibility=upload.visibility,
            code=code,
            **cost,
        )


def _cost(answer: Answer) -> dict[str, Any]:
    return {"isolated": answer.isolated, "read_ms": int(answer.seconds * 1000), "peak_bytes": answer.peak_bytes}


def due() -> list[UUID]:
    """Return the uploads that no worker has begun to read."""
    now = timezone.now()
    late = now - timedelta(seconds=QUEUED_SECONDS)
    rows = ModelUpload.objects.filter(Q(queued_at=None) | Q(queued_at__lte=late), received_at__lte=late)
    rows = rows.filter(state=ModelUploadState.RECEIVED)
    return [pk for pk in list(rows.values_list("pk", flat=True)) if rows.filter(pk=pk).update(queued_at=now)]


def _give_back(upload: ModelUpload) -> None:
    """Take an upload from a worker that is gone: whoever calls has the step."""
    with transaction():
        advance(upload, ModelUploadState.RECEIVED, actor=WORKER, visibility=upload.visibility, reason="worker_lost")


def is_waiting(upload_id: UUID) -> bool:
    """Return whether an upload is still to be decided."""
    return ModelUpload.objects.filter(pk=upload_id, state__in=MODEL_UPLOAD_LIVE).exists()


def give_up(upload_id: UUID) -> None:
    """Refuse an upload over which workers have died three times, so that another can be handed in."""
    for upload in ModelUpload.objects.filter(pk=upload_id, state__in=MODEL_UPLOAD_LIVE):
        try:
            if upload.state == ModelUploadState.RECEIVED:
                with transaction():
                    advance(upload, ModelUploadState.READING, actor=WORKER, visibility=upload.visibility)
            _refuse(upload, "stuck", "The hub could not read the file, three times over. Its log says why.", None)
        except Conflict:
            continue
        discard(upload_id)


def tidy() -> None:
    """Delete the files of uploads that are decided, and those that no upload came of."""
    waiting = set(ModelUpload.objects.filter(state__in=MODEL_UPLOAD_LIVE).values_list("pk", flat=True))
    kept = {name_of(pk) for pk in waiting}
    for stored in storage.uploads().list(QUARANTINE, time.time() - ORPHAN_SECONDS):
        if stored.name not in kept:
            storage.uploads().delete(stored.name)
