"""The validation set: labelled scans that an administrator brings, which stay on the hub, sealed, and measure versions.

Scans come in any number of pieces; then the set is prepared (`prepare.py`) and takes the place of the one before.
"""

import logging
import time
from collections.abc import Iterable, Mapping
from datetime import timedelta
from functools import partial
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import UUID

from django.db import IntegrityError
from django.utils import timezone

from apps.accounts.models import User
from apps.audit.api import Conflict, advance, record, transaction
from apps.federation.models import Federation, ValidationScan, ValidationSet
from apps.federation.pipeline import incoming
from apps.federation.pipeline.attempts import promise
from apps.federation.pipeline.step import Next, Refusal
from apps.federation.pipeline.vault import Vault, VaultError
from apps.federation.states import VALIDATION_COMING, VALIDATION_LIVE, ValidationState
from hospintel_core import domain
from hospintel_core.errors import KeyFileError
from hospintel_core.validation import set_digest

logger = logging.getLogger(__name__)
SYSTEM = "system:validation"
MOST_SCANS = 2_000
# Fewer say nothing about a class: one scan would be more than a tenth of it.
LEAST_OF_CLASS = 10
# A set that nobody went on with is deleted.
DRAFT_HOURS = 24
# A set has its key a moment before its row.
FRESH_SECONDS = 60
SCANS = Vault("validation", "validation", gone="The validation set's scans are deleted.")


def ready(federation_slug: str) -> ValidationSet | None:
    """Return the set with which a federation's versions are measured, if there is one."""
    return ValidationSet.objects.filter(federation=federation_slug, state=ValidationState.READY).first()


class Looks(NamedTuple):
    """What the set in use looks like, as `hospintel_core.domain.Domain.to_dict` gives it; None, and `why` not.

    `why` is no_set, few_scans (of a class: the check would tell which scans are in the set), or prepared_before, by a
    hub whose checks told more.
    """

    domain: dict[str, Any] | None
    why: str


def looks(federation_slug: str) -> Looks:
    """Return what the page Analyse compares a scan with."""
    found = ready(federation_slug)
    if found is None:
        return Looks(None, "no_set")
    if found.domain:
        return Looks(found.domain, "")
    return Looks(None, "prepared_before" if enough_to_compare(found.counts) else "few_scans")


def enough_to_compare(counts: Mapping[str, int]) -> bool:
    """Return whether a set with so many scans of each class gives a domain check."""
    return min(counts.values()) >= domain.LEAST_OF_CLASS


def promise_measured(federation_slug: str, versions: Iterable[UUID]) -> None:
    """Have versions measured, also if the tasks for it are lost, where there is a set or soon will be one.

    Stands in the transaction that makes them versions people look at.
    """
    if ValidationSet.objects.filter(federation=federation_slug, state__in=VALIDATION_LIVE).exists():
        promise("validate", versions)


def coming(federation_slug: str) -> ValidationSet | None:
    """Return the set that is being brought or prepared, if there is one."""
    return ValidationSet.objects.filter(federation=federation_slug, state__in=VALIDATION_COMING).first()


def add(
    user: User, federation: Federation, files: incoming.Files, *, label: int | None
) -> tuple[ValidationSet | None, incoming.Added]:
    """Take scans into the set that is being brought, which begins with the first of them.

    Args:
        user: who brings them.
        federation: whose versions they shall measure.
        files: name and content of each: single scans, and zip files with class folders.
        label: the class of the files that no folder names; without one they are left out (`scan_without_class`).

    Returns:
        The set, None where it would have no scan at all, and what became of the files.

    Raises:
        Refusal: `validation_state` (409) where the set is being prepared, or another was begun in the same moment;
            `hub_disk_full` (507).
    """
    found = coming(federation.pk)
    if found is not None and found.state != ValidationState.RECEIVING:
        raise wrong_state(found)
    target = found or ValidationSet(federation=federation, author=user)
    if found is None:
        SCANS.create(target.pk)
    try:
        done = incoming.take(
            SCANS,
            target.pk,
            files,
            classes=federation.classes,
            label=label,
            keep=partial(_keep, target, user, new=found is None),
        )
    except VaultError as error:
        raise wrong_state(target) from error
    finally:
        begun = ValidationSet.objects.filter(pk=target.pk).exists()
        if not begun:
            SCANS.erase(target.pk)
    return target if begun else None, done


def _keep(target: ValidationSet, user: User, sealed: list[incoming.Sealed], done: incoming.Added, *, new: bool) -> None:
    """Write the rows of what was sealed, and the set's own with the first of them."""
    unlabelled = [one for one in sealed if one.label is None]
    detail = "Nothing says of which class it is: name one, or send a zip file with class folders."
    done.refused += [incoming.Problem(one.place, "scan_without_class", detail) for one in unlabelled]
    with transaction():
        known = {scan.digest: scan for scan in ValidationScan.objects.filter(validation_set=target.pk)}
        full = ("validation_full", f"A validation set has at most {MOST_SCANS} scans.")
        labelled = [one for one in sealed if one.label is not None]
        numbered = incoming.sort_out(labelled, known, done, most=MOST_SCANS, full=full)
        if new and not numbered:
            return
        _begin(target, user) if new else _still_receiving(target)
        kept = [ValidationScan(validation_set=target, number=number, **one.columns()) for number, one in numbered]
        ValidationScan.objects.bulk_create(kept)
        record(
            "validation_set.scans",
            actor=user.actor,
            obj=target,
            visibility="admin",
            added=len(kept),
            copies=len(done.copies),
            refused=len(done.refused),
            codes=done.codes,
        )
    done.scans = kept


def _begin(target: ValidationSet, user: User) -> None:
    try:
        with transaction():
            target.save(force_insert=True)
    except IntegrityError as error:
        detail = "Somebody else began a validation set in the same moment. Send the scans again."
        raise Refusal("validation_state", detail, 409) from error
    record("validation_set.begin", actor=user.actor, obj=target, visibility="admin")


def _still_receiving(target: ValidationSet) -> None:
    if not ValidationSet.objects.filter(pk=target.pk, state=ValidationState.RECEIVING).update(code=""):
        raise wrong_state(target)


def counts_of(found: ValidationSet) -> dict[str, int]:
    """Return class name -> scans of a set that is being brought; later ones have them written down."""
    if found.state != ValidationState.RECEIVING:
        return {name: found.counts.get(name, 0) for name in found.federation.classes}
    labels = list(ValidationScan.objects.filter(validation_set=found).values_list("label", flat=True))
    return {name: labels.count(number) for number, name in enumerate(found.federation.classes)}


def use(found: ValidationSet, *, actor: str) -> list[Next]:
    """Have a set prepared; when that is done it takes the place of the one before.

    Raises:
        Refusal: `scans_few` (400) where a class has fewer than `LEAST_OF_CLASS`, `validation_state` (409).
    """
    try:
        with transaction():
            # Locks the row: scans that are just being added are in before it, or refused after it.
            _still_receiving(found)
            counts = counts_of(found)
            few = [f"{name} ({count})" for name, count in counts.items() if count < LEAST_OF_CLASS]
            if few:
                detail = f"Each class needs at least {LEAST_OF_CLASS} scans. Add scans of {', '.join(few)}."
                raise Refusal("scans_few", detail, 400)
            scans = ValidationScan.objects.filter(validation_set=found).values_list("label", "digest")
            changes = {"counts": counts, "digest": set_digest(list(scans))}
            total = sum(counts.values())
            advance(found, ValidationState.PREPARING, actor=actor, changes=changes, visibility="admin", scans=total)
    except Conflict as error:
        raise wrong_state(found) from error
    return [Next("prepare_validation", found.pk, apart=True)]


def delete(found: ValidationSet, *, actor: str) -> None:
    """Delete a set with its scans, also the one that is in use: then the gate goes by what agents report.

    Raises:
        Refusal: `validation_state` (409) where that was done, or it was replaced.
    """
    visibility = "everyone" if found.state == ValidationState.READY else "admin"
    try:
        with transaction():
            end(found, ValidationState.DELETED, actor=actor, visibility=visibility)
    except Conflict as error:
        raise wrong_state(found) from error
    erase_quietly(found.pk)


def end(found: ValidationSet, to: ValidationState, *, actor: str, code: str = "", visibility: str = "everyone") -> None:
    """Move a set to its end inside the caller's transaction; its scans go after the commit.

    Raises:
        Conflict: it has ended, or moved on, in the meantime.
    """
    facts = {"code": code} if code else {}
    # What its scans look like goes with them.
    changes = {"code": code, "ended_at": timezone.now(), "domain": {}}
    advance(found, to, actor=actor, changes=changes, visibility=visibility, **facts)


def fail(found: ValidationSet, code: str) -> None:
    """End a set whose scans or features cannot be read; nothing happens where it has ended."""
    try:
        with transaction():
            end(found, ValidationState.FAILED, actor=SYSTEM, code=code)
    except Conflict:
        return
    erase_quietly(found.pk)


def features_id(digest: str, backbone: str) -> UUID:
    """Return under which id a set's features lie in the vault: those of other scans or another base are others."""
    return UUID(bytes=sha256(f"features {digest} {backbone}".encode()).digest()[:16])


def erase(set_id: UUID) -> None:
    """Delete the key, the scans and the features of a set that has ended. Safe to call again.

    Raises:
        OSError, KeyFileError: the disk refuses.
    """
    SCANS.erase(set_id)
    with transaction():
        ended = ValidationSet.objects.filter(pk=set_id, erased_at=None).exclude(state__in=VALIDATION_LIVE)
        if ended.update(erased_at=timezone.now()):
            found = ValidationSet.objects.get(pk=set_id)
            scans, _ = ValidationScan.objects.filter(validation_set=set_id).delete()
            record("validation_set.erase", actor=SYSTEM, obj=found, visibility="admin", scans=scans)


def erase_quietly(set_id: UUID) -> None:
    """Delete them; where the disk refuses, the tick tries again."""
    try:
        erase(set_id)
    except (OSError, KeyFileError):
        logger.exception("the scans of validation set %s cannot be deleted; trying again", set_id)


def tidy() -> None:
    """Delete sets that nobody went on with, and the scans of those that have ended or never came to be."""
    limit = timezone.now() - timedelta(hours=DRAFT_HOURS)
    for old in ValidationSet.objects.filter(state=ValidationState.RECEIVING, created_at__lt=limit):
        try:
            delete(old, actor=SYSTEM)
        except Refusal:
            logger.info("validation set %s was taken up in this moment", old.pk)
    ended = ValidationSet.objects.filter(erased_at=None).exclude(state__in=VALIDATION_LIVE)
    kept = SCANS.kept(time.time() - FRESH_SECONDS)
    live = ValidationSet.objects.filter(pk__in=kept, state__in=VALIDATION_LIVE)
    for pk in {*ended.values_list("pk", flat=True), *kept} - set(live.values_list("pk", flat=True)):
        erase_quietly(pk)


def wrong_state(found: ValidationSet) -> Refusal:
    """Return the refusal of what a set's state does not allow (any more)."""
    now = ValidationSet.objects.filter(pk=found.pk).values_list("state", flat=True).first() or found.state
    return Refusal("validation_state", f"The validation set is {now}.", 409)
