"""Every step is safe to run twice, at any time; what stops half-way is taken up again, and given up by name."""

import logging
import tracemalloc
import uuid
from datetime import timedelta

import on_disk
import pytest
import time_machine
from django.apps import apps
from django.conf import settings
from django.db import transaction
from django.utils import timezone
from site_agent import SCHEMA, report
from validating import bring

from apps.federation import tasks
from apps.federation.models import ModelVersion, Round, Update, ValidationReport, ValidationSet
from apps.federation.pipeline import storage, tick, validation
from apps.federation.pipeline.aggregate import aggregate
from apps.federation.pipeline.step import Next
from apps.federation.pipeline.verify_audit import ask
from apps.federation.pipeline.write_model import write_model
from apps.federation.states import RoundState


def everything():
    """Every row of the hub's own tables, and every file, by content."""
    rows = {}
    for model in [*apps.get_app_config("federation").get_models(), *apps.get_app_config("audit").get_models()]:
        columns = [field.attname for field in model._meta.concrete_fields]
        rows[model._meta.label] = sorted(map(repr, model.objects.values_list(*columns)))
    folders = (settings.UPLOAD_DIR, settings.MODEL_DIR, settings.KEYS)
    files = {str(path): path.read_bytes() for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()}
    return rows, files


def twice(step, pk):
    """Run a step twice in a row: the second time changes nothing. Returns what follows from the first."""
    following = tasks.STEPS[step](pk)
    before = everything()
    tasks.STEPS[step](pk)
    assert everything() == before, step
    return following


def all_twice(waiting):
    """Run steps and all that follows from them, each twice. Returns the names of those that ran."""
    waiting, seen = list(waiting), set()
    while waiting:
        current = waiting.pop(0)
        waiting += twice(current.step, current.id)
        seen.add(current.step)
    return seen


def queued(hub):
    return [Next(task["name"], task["pk"]) for task in hub.queued()]


def test_every_step_run_twice_in_a_row_changes_the_hub_once(hub, cast, north, south):
    hub.configure(evaluate_quorum=2)
    seen = all_twice(tick.due())
    round_ = hub.open_round(north, south)
    hub.run([])
    for agent in (north, south):
        agent.take_part()
        seen |= all_twice(queued(hub))
    for agent in (north, south):
        assert agent.evaluate(report()).status_code == 200
        seen |= all_twice(queued(hub))
    seen |= all_twice(tick.due())
    seen |= all_twice(ask(actor="user:1"))
    seen |= all_twice(validation.use(bring(hub, cast.admin), actor=cast.admin.actor))
    assert ValidationReport.objects.count() == 2
    assert len(hub.events(action="version.calibrated")) == 1
    assert seen == set(tasks.STEPS)
    round_.refresh_from_db()
    round_.run.refresh_from_db()
    assert (round_.state, round_.run.state) == ("PUBLISHED", "DONE")
    assert ModelVersion.objects.count() == 2


def test_any_step_at_any_time_does_what_is_due_and_nothing_else(hub, north, south):
    """At each stage of a round, all steps run on all objects: nothing comes earlier or twice."""

    def poke():
        for step in tasks.STEPS:
            ids = {
                "inspect": Update.objects.values_list("pk", flat=True),
                "open": [round_.run_id],
                "write_model": ModelVersion.objects.values_list("pk", flat=True),
                "export_model": ModelVersion.objects.values_list("pk", flat=True),
                "validate": ModelVersion.objects.values_list("pk", flat=True),
                "prepare_validation": ValidationSet.objects.values_list("pk", flat=True),
            }.get(step, [round_.pk])
            if step == "finish_run":
                continue
            for pk in list(ids):
                tasks.STEPS[step](pk)

    round_ = hub.open_round(north, south)
    poke()
    assert hub.current_round().state == "COLLECTING"
    for agent in (north, south):
        agent.take_part()
        hub.queued()
        poke()
    for _ in range(3):
        poke()
    round_.refresh_from_db()
    assert round_.state == "PUBLISHED"
    assert ModelVersion.objects.count() == 2
    assert len(hub.events(action="update.consumed")) == 2
    assert hub.files() == set()


@pytest.fixture
def closed(hub, north, south):
    """A round that has closed and waits for its aggregation."""
    round_ = hub.open_round(north, south)
    for seed, agent in enumerate((north, south)):
        agent.take_part(seed=seed)
    for task in hub.queued():
        for following in tasks.STEPS[task["name"]](task["pk"]):
            tasks.STEPS[following.step](following.id)
    round_.refresh_from_db()
    assert round_.state == "AGGREGATING"
    return round_


def test_an_aggregation_run_again_gives_the_same_bytes(hub, closed):
    digests = set()
    for _ in range(3):
        with transaction.atomic():  # noqa: TID251 - a trial run that is undone
            aggregate(closed.pk)
            digests.add(ModelVersion.objects.get(round=closed).digest)
            transaction.set_rollback(True)
    hub.run([Next("aggregate", closed.pk)])
    closed.refresh_from_db()
    assert digests == {closed.version.digest}
    assert storage.read_head(closed.version.digest, SCHEMA)


def traced(act):
    """The most memory that something took, in bytes."""
    tracemalloc.start()
    act()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_an_aggregation_holds_the_round_once_and_not_once_for_each_update(closed):
    """With a thousand hospitals the ids of whom a round asks, and the round for each update, would be a million ids."""
    Round.objects.filter(pk=closed.pk).update(expected=[str(uuid.uuid4()) for _ in range(100_000)])
    once = traced(lambda: Round.objects.get(pk=closed.pk))
    assert traced(lambda: aggregate(closed.pk)) < 1.5 * once


def later(seconds):
    return time_machine.travel(timezone.now() + timedelta(seconds=seconds))


def test_a_received_update_whose_task_was_lost_is_inspected_by_the_tick(hub, north, south):
    round_ = hub.open_round(north, south)
    north.take_part()
    hub.queued()
    hub.tick()
    assert north.status(round_.pk)["state"] == "RECEIVED"
    with later(tick.STUCK_SECONDS + 1):
        hub.tick()
        assert north.status(round_.pk)["state"] == "ACCEPTED"
        hub.finish_honestly(south)


def test_a_closed_round_whose_task_was_lost_is_aggregated_by_the_tick(hub, closed):
    hub.tick()
    closed.refresh_from_db()
    assert closed.state == "AGGREGATING"
    with later(tick.STUCK_SECONDS + 1):
        hub.tick()
    closed.refresh_from_db()
    assert closed.state == "PUBLISHED"


def test_a_candidate_whose_task_was_lost_is_judged_by_the_tick(hub, closed):
    aggregate(closed.pk)
    with later(2):
        hub.tick()
    closed.refresh_from_db()
    assert closed.state == "PUBLISHED"


def names(steps):
    return sorted(item.step for item in steps)


def test_a_stuck_row_is_queued_once_in_fifteen_seconds_however_often_the_tick_looks(hub, north, south):
    hub.open_round(north, south)
    north.take_part()
    hub.queued()
    with later(20) as clock:
        assert names(tick.due()).count("inspect") == 1
        for _ in range(10):
            assert "inspect" not in names(tick.due())
        clock.shift(16)
        assert names(tick.due()).count("inspect") == 1


def test_a_round_whose_ciphertext_is_lost_fails_by_name(hub, north, south, closed):
    hub.paths()[0].unlink()
    hub.run([Next("aggregate", closed.pk)])
    closed.refresh_from_db()
    assert (closed.state, closed.reason) == ("FAILED", "ciphertext_missing")
    hub.finish_honestly(north, south)


def test_what_is_aggregated_is_what_was_accepted(hub, north, south):
    """Another envelope of the same agent, as good as the first but never judged, lies where the first one lay."""
    round_ = hub.open_round(north, south)
    manifest = north.task()
    other = north.seal(manifest)
    assert north.put(round_.pk, north.seal(manifest)).status_code == 202
    hub.work()
    (path,) = hub.paths()
    path.write_bytes(other)
    south.take_part()
    hub.work()
    round_.refresh_from_db()
    assert (round_.state, round_.reason) == ("FAILED", "ciphertext_damaged")
    hub.finish_honestly(north, south)


@pytest.fixture
def damaged(closed):
    """The stored head that the round started from, with one bit flipped."""
    path = on_disk.head_path(closed.base.digest)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    return path


def test_a_damaged_head_is_found_by_its_digest_and_named(hub, closed, damaged, caplog):
    aggregate(closed.pk)
    closed.refresh_from_db()
    assert (closed.state, closed.reason) == ("FAILED", "head_damaged")
    assert hub.event(action="round.failed")["facts"]["reason"] == "head_damaged"
    assert f"The stored head {closed.base.digest} has been damaged." in caplog.text


def test_a_damaged_head_is_not_written_into_a_model(closed, damaged):
    with pytest.raises(storage.StorageError, match=closed.base.digest) as caught:
        write_model(closed.base_id)
    assert caught.value.code == "head_damaged"
    assert not on_disk.file_path(closed.base.digest).exists()


def test_a_missing_head_is_named(closed, caplog):
    on_disk.head_path(closed.base.digest).unlink()
    with caplog.at_level(logging.ERROR):
        aggregate(closed.pk)
    closed.refresh_from_db()
    assert (closed.state, closed.reason) == (RoundState.FAILED, "head_missing")
    assert closed.base.digest in caplog.text
