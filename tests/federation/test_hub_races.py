"""What two processes may do to one round in the same moment: the one that comes too late changes nothing."""

import os
import shutil
import time
import uuid

import on_disk
import pytest
from django.conf import settings
from site_agent import report

from apps.federation.models import ModelVersion, Round, Run
from apps.federation.pipeline import finish, keys, runs, tick
from apps.federation.pipeline.aggregate import close
from apps.federation.pipeline.inspect import inspect
from apps.federation.pipeline.open_round import _create_round
from apps.federation.pipeline.publish import publish
from apps.federation.pipeline.revoke import revoke
from apps.federation.pipeline.step import Next


@pytest.fixture
def waiting(hub, north, south):
    """A round whose candidate waits at the gate, as a worker has just read it."""
    hub.configure(evaluate_quorum=2)
    round_ = hub.open_round(north, south, rounds=2)
    for agent in (north, south):
        agent.take_part(measured=report(8))
    hub.work()
    return ModelVersion.objects.select_related("round__run").get(round=round_)


def make_old(path):
    long_ago = time.time() - 2 * tick.PART_SECONDS
    os.utime(path, (long_ago, long_ago))


def test_a_candidate_of_an_aborted_run_is_not_published_by_a_worker_that_read_it_before(hub, waiting):
    hub.run(runs.abort(Run.objects.get(), actor="user:1"))
    assert publish(waiting, actor="system:worker") == []
    stored = ModelVersion.objects.get(pk=waiting.pk)
    assert (stored.state, stored.number, stored.verdict) == ("REJECTED", None, "its round failed: aborted")
    hub.federation.refresh_from_db()
    assert hub.federation.current.number == 1


def test_no_round_opens_on_a_run_that_was_aborted_meanwhile(hub, north, south):
    run = hub.start_run()
    base = hub.federation.current
    hub.run(runs.abort(Run.objects.get(), actor="user:1"))
    _create_round(run, base, 1, [str(north.row.pk)])
    assert not Round.objects.exists()
    assert keys.kept_round_keys() == []


def test_no_round_opens_on_a_base_that_was_replaced_meanwhile(hub, north, south):
    hub.open_round(north, south)
    hub.finish_honestly(north, south)
    hub.run(runs.abort(Run.objects.get(), actor="user:1"))
    hub.configure(min_updates=5)
    run = hub.start_run()
    first = ModelVersion.objects.get(number=1)
    _create_round(run, first, 1, [str(north.row.pk)])
    assert not Round.objects.filter(run=run).exists()
    assert keys.kept_round_keys() == []


def test_a_revocation_that_comes_after_the_close_leaves_the_sum_its_ciphertext(hub, north, south):
    round_ = hub.open_round(north, south)
    for agent in (north, south):
        agent.take_part()
    for update in round_.updates.all():
        inspect(update.pk)
    assert close(round_.pk) == [Next("aggregate", round_.pk)]
    hub.run(revoke(north.row, actor="user:1"))
    assert round_.updates.get(agent=north.row).state == "ACCEPTED"
    hub.run([Next("aggregate", round_.pk)])
    round_.refresh_from_db()
    assert round_.state == "PUBLISHED"


def test_a_run_pauses_after_three_failures_of_one_round_for_the_hubs_own_reasons(hub, north, south):
    hub.open_round(north, south)
    for _ in range(3):
        hub.run(finish.fail_round(hub.current_round(), "head_damaged", actor="system:worker"))
    run = Run.objects.get()
    assert (run.state, run.all_rounds.count()) == ("PAUSED", 3)


def test_a_run_goes_on_however_often_a_quorum_is_missed(hub, north, south):
    hub.open_round(north, south)
    for _ in range(4):
        hub.run(finish.fail_round(hub.current_round(), "quorum", actor="system:worker"))
    run = Run.objects.get()
    assert (run.state, run.all_rounds.count()) == ("RUNNING", 5)


def test_what_a_crash_in_retention_left_is_deleted_later(hub, north, south, tmp_path):
    round_ = hub.open_round(north, south)
    north.take_part()
    (sealed,) = hub.paths()
    kept = tmp_path / "kept"
    shutil.copy(sealed, kept)
    south.take_part(seed=1)
    hub.work()
    shutil.copy(kept, sealed)
    make_old(sealed)
    tick.housekeeping()
    assert hub.files() == set()
    round_.refresh_from_db()
    assert round_.state == "PUBLISHED"


def test_what_a_power_cut_left_of_a_file_is_deleted_later(hub):
    kept = hub.federation.current.digest
    whole = on_disk.head_path(kept)
    begun = [whole.with_name(f".{kept}.safetensors.01.tmp"), settings.UPLOAD_DIR / "scans" / "owner" / ".scan.01.tmp"]
    for path in begun:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half of it")
    tick.housekeeping()
    assert all(path.exists() for path in begun)
    for path in [whole, *begun]:
        make_old(path)
    tick.housekeeping()
    assert not any(path.exists() for path in begun)
    assert whole.exists()


def test_a_round_key_whose_round_never_came_to_be_is_erased_later(hub):
    orphan = uuid.uuid4()
    keys.create_round_key(orphan)
    tick.housekeeping()
    assert keys.has_round_key(orphan)
    make_old(keys._round_path(orphan))
    tick.housekeeping()
    assert not keys.has_round_key(orphan)


def test_the_accepted_update_of_an_open_round_is_never_taken_for_forgotten(hub, north, south):
    hub.open_round(north, south)
    north.take_part()
    hub.work()
    (sealed,) = hub.paths()
    make_old(sealed)
    tick.housekeeping()
    assert on_disk.sealed_path(uuid.UUID(sealed.stem)).exists()
    hub.finish_honestly(south)
