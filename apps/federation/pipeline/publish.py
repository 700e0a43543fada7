"""Publish a version, or hold it. Whatever is published while a round is open ends that round as superseded."""

from django.db import IntegrityError
from django.utils import timezone

from apps.audit.api import Conflict, advance, record, transaction
from apps.federation.models import Federation, ModelVersion, Round
from apps.federation.pipeline.attend import facts_of
from apps.federation.pipeline.finish import after_end, mark_failed
from apps.federation.pipeline.step import Next
from apps.federation.pipeline.validation import promise_measured
from apps.federation.states import RoundState, RunState, VersionState
from hospintel_core.failpoints import reach


def publish(version: ModelVersion, *, actor: str, verdict: str = "") -> list[Next]:
    """Give a version the next number and make it current, in one transaction with the end of its round.

    Args:
        version: a candidate or held version; nothing happens where it was published in the meantime, or where the
            round of a candidate has ended (aborted, superseded).
        actor: who publishes it, for the audit.
        verdict: what the gate found, kept with the version.

    Returns:
        The steps that follow: the next round (from the new base), retention, the Keras file, the validation set.
    """
    now = timezone.now()
    following: list[Next] = []
    # Who is in it was written when its round closed, and stays.
    attendance = facts_of(version.round) if version.round is not None else {}
    try:
        with transaction():
            federation = Federation.objects.get(pk=version.federation_id)
            number = (federation.versions.exclude(number=None).order_by("-number").first() or version).number or 0
            changes = {"number": number + 1, "published_at": now, "verdict": verdict or version.verdict}
            changes["decided_by"] = actor
            candidate = version.state == VersionState.CANDIDATE
            advance(version, VersionState.PUBLISHED, actor=actor, changes=changes, number=number + 1, **attendance)
            if candidate and version.round_id:
                own = Round.objects.select_related("run").get(pk=version.round_id)
                following += _end_own_round(own, number + 1, actor=actor)
            moved = Federation.objects.filter(pk=federation.pk, current=federation.current_id).update(current=version)
            if not moved:
                raise Conflict("Another version was published in the same moment.")
            for round_ in Round.objects.active().of(federation.pk).select_related("run"):
                mark_failed(round_, "superseded", actor=actor)
                following += after_end(round_)
            promise_measured(federation.pk, [version.pk])
            reach("publish.before_commit")
    except (Conflict, IntegrityError):
        # Somebody else was quicker: with this version, or with the number that it would have got.
        version.refresh_from_db()
        return []
    reach("publish.committed")
    return [*following, Next("write_model", version.pk, apart=True), Next("validate", version.pk)]


def _end_own_round(round_: Round, number: int, *, actor: str) -> list[Next]:
    advance(round_, RoundState.PUBLISHED, actor=actor, changes={"ended_at": timezone.now()}, version=number)
    last = round_.run.all_rounds.filter(state=RoundState.PUBLISHED).count() >= round_.run.rounds
    return [Next("finish_run", round_.pk), *after_end(round_)] if last else after_end(round_)


def hold(version: ModelVersion, *, actor: str, verdict: str) -> list[Next]:
    """Hold a candidate that the gate found worse; its round ends as HELD and its run pauses for an admin."""
    try:
        with transaction():
            advance(version, VersionState.HELD, actor=actor, changes={"verdict": verdict}, outcome="held")
            if version.round is not None:
                round_ = version.round
                advance(round_, RoundState.HELD, actor=actor, changes={"ended_at": timezone.now()}, reason="gate")
                if round_.run.state == RunState.RUNNING:
                    advance(round_.run, RunState.PAUSED, actor=actor, reason="held")
            reach("hold.before_commit")
    except Conflict:
        version.refresh_from_db()
        return []
    reach("hold.committed")
    return after_end(version.round) if version.round is not None else []


def first_version(federation: Federation, digest: str, *, actor: str) -> ModelVersion:
    """Publish version 1 of a federation from a seeded head."""
    with transaction():
        version = ModelVersion.objects.create(
            federation=federation, digest=digest, source=ModelVersion.Source.SEED, verdict="seeded, not trained"
        )
        record("version.seed", actor=actor, obj=version, digest=digest)
    publish(version, actor=actor)
    return version
