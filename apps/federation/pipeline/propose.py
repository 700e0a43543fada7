"""A person proposes a version: it waits for an administrator who is not its author."""

from collections.abc import Callable, Mapping
from typing import Any

from django.db import IntegrityError

from apps.accounts.models import User
from apps.accounts.roles import may
from apps.audit.api import advance, record, transaction
from apps.federation.models import Federation, ModelVersion
from apps.federation.pipeline import storage
from apps.federation.pipeline.membership import require_member
from apps.federation.pipeline.step import Next, Refusal
from apps.federation.pipeline.validation import promise_measured
from apps.federation.states import VersionState
from hospintel_core import architectures
from hospintel_core.errors import ReportError
from hospintel_core.failpoints import reach
from hospintel_core.report import Report
from hospintel_core.screening import screen

MOST_NOTE = 200
MOST_SCANS = 1_000_000
PROPOSALS = frozenset({ModelVersion.Source.FINE_TUNE, ModelVersion.Source.UPLOAD})
# On which scans a proposal was measured, and the two models that were measured on them.
PARTS = frozenset({"held_out"})
MODELS = frozenset({"before", "after"})


def propose(
    federation: Federation,
    *,
    digest: str,
    source: str,
    parent: ModelVersion,
    author: User,
    note: str = "",
    report: dict[str, Any] | None = None,
    also: Callable[[ModelVersion], None] | None = None,
) -> tuple[ModelVersion, list[Next]]:
    """Make a version of a stored head and hold it for review. No run pauses and no round ends for it.

    Args:
        federation: whose model it shall become.
        digest: the head's SHA-256, as `storage.store_head` returned it.
        source: FINE_TUNE or UPLOAD.
        parent: the published version that it was made from.
        author: who proposes it, and will not decide about it.
        note: what the author says about it, at most 200 characters.
        report: what its author's side measured: `{"held_out": {"before": R, "after": R}}`, each R a
            `hospintel_core.report.Report` as `to_dict()` gives it; the part and any of the two may be missing.
        also: done in the same transaction, with the new version: what belongs to the proposal on the caller's side.

    Returns:
        The version, HELD, and the steps that follow: it is measured on the hub's validation set.

    Raises:
        Refusal: `permission_denied` or `not_a_member` (403); `note_long`, `report_shape` or `report_range` (400);
            `parent_unknown`, `version_unchanged` or `version_waiting` (409); a code of `screening` (422) for a
            head that cannot be used.
        StorageError: no such head is stored.
        WeightsError: it does not fit the federation's architecture.
        ValueError: the source is no proposal's.
    """
    if source not in PROPOSALS:
        raise ValueError(f"{source} is not where a proposal comes from.")
    # Asked here too: between a job's start and its end, its author may have lost the role or left.
    if not may(author, "get_model"):
        raise Refusal("permission_denied", "Your role does not allow this.", 403)
    require_member(author, federation)
    note = tidied(note)
    _check_report(report or {}, len(federation.classes))
    _check_parent(federation, parent, digest)
    _check_head(federation, digest)
    version = ModelVersion(
        federation=federation,
        digest=digest,
        source=source,
        parent=parent,
        author=author,
        note=note,
        report=report or {},
    )
    try:
        with transaction():
            version.save(force_insert=True)
            record("version.propose", actor=author.actor, obj=version, objects=[parent], source=source, digest=digest)
            verdict = f"proposed by {author.username[:60]}"
            advance(version, VersionState.HELD, actor=author.actor, changes={"verdict": verdict}, reason="proposed")
            if also is not None:
                also(version)
            promise_measured(federation.pk, [version.pk])
            reach("propose.before_commit")
    except IntegrityError as error:
        if not _waiting(federation, digest):
            raise
        raise Refusal("version_waiting", "The same model waits for review already.", 409) from error
    reach("propose.committed")
    return version, [Next("validate", version.pk)]


def tidied(note: str) -> str:
    """Return a note as it is kept, on one line. Raises Refusal(note_long, 400) beyond 200 characters."""
    note = " ".join(note.split())
    if len(note) > MOST_NOTE:
        raise Refusal("note_long", f"A note has at most {MOST_NOTE} characters.", 400)
    return note


def _waiting(federation: Federation, digest: str) -> bool:
    return federation.versions.filter(digest=digest, state=VersionState.HELD, source__in=PROPOSALS).exists()


def _check_parent(federation: Federation, parent: ModelVersion, digest: str) -> None:
    if parent.federation_id != federation.pk or parent.state != VersionState.PUBLISHED:
        raise Refusal("parent_unknown", "A proposal starts from a published version of its federation.", 409)
    if parent.digest == digest:
        raise Refusal("version_unchanged", f"This is {parent} itself: nothing was changed.", 409)
    if _waiting(federation, digest):
        raise Refusal("version_waiting", "The same model waits for review already.", 409)


def _check_head(federation: Federation, digest: str) -> None:
    schema = architectures.get(federation.architecture).head_schema
    findings = screen(storage.read_head(digest, schema), schema)
    if findings:
        raise Refusal(findings[0].code, findings[0].detail, 422)


def _check_report(report: Mapping[str, Any], classes: int) -> None:
    try:
        if not report.keys() <= PARTS:
            raise ReportError("report_shape", f"A proposal's report has the parts {', '.join(sorted(PARTS))}.")
        for part in report.values():
            if not isinstance(part, Mapping) or not part.keys() <= MODELS:
                raise ReportError("report_shape", "Each part of the report has the models before and after.")
            for value in part.values():
                Report.from_dict(value, classes, MOST_SCANS)
    except ReportError as error:
        raise Refusal(error.code, error.detail, 400) from error
