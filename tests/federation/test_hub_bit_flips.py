"""One flipped bit in what lies on the disk is found by its digest before it is used, named, and costs no round."""

import random
from contextlib import contextmanager

import pytest
from django.conf import settings
from looking import browser, text
from site_agent import SCHEMA

from apps.federation import tasks
from apps.federation.models import Attempt, Run, Update
from apps.federation.pipeline import model_files, runs, storage
from apps.federation.pipeline.inspect import InspectError, open_update
from apps.federation.pipeline.step import Next

# 34 + 33 + 33.
HEADS, FILES, SEALED = 34, 33, 33


@contextmanager
def flipped(path, dice):
    """Let one bit at a random place of a file be another for the time of the block."""
    whole = path.read_bytes()
    place, bit = dice.randrange(len(whole)), dice.randrange(8)
    path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << bit)]) + whole[place + 1 :])
    try:
        yield
    finally:
        if path.exists():
            path.write_bytes(whole)


@pytest.fixture
def dice():
    return random.Random(100)


def only(folder, pattern):
    (path,) = folder.rglob(pattern)
    return path


def test_each_flip_in_a_head_is_found_when_it_is_read(hub, dice):
    digest = hub.federation.current.digest
    path = only(settings.MODEL_DIR, f"{digest}.safetensors")
    for _ in range(HEADS):
        with flipped(path, dice), pytest.raises(storage.StorageError) as caught:
            storage.read_head(digest, SCHEMA)
        assert caught.value.code == "head_damaged"
    assert storage.read_head(digest, SCHEMA)


def test_each_flip_in_a_model_file_is_found_before_it_is_served_and_it_is_written_again(hub, dice):
    version = hub.federation.current
    hub.run([Next("write_model", version.pk)])
    _, written = model_files.checked(version.digest)
    path = only(settings.MODEL_DIR, f"{version.digest}.h5")
    whole = path.read_bytes()
    for _ in range(FILES):
        with flipped(path, dice):
            assert model_files.checked(version.digest) is None
        assert not path.exists()
        hub.run([Next("write_model", version.pk)])
        assert model_files.checked(version.digest)[1] == written
        assert path.read_bytes() == whole


def test_each_flip_in_a_sealed_update_is_found_before_it_is_opened(hub, north, south, dice):
    hub.open_round(north, south)
    north.take_part()
    hub.queued()
    update = Update.objects.select_related("round__run__federation", "agent").get()
    (path,) = hub.paths()
    for _ in range(SEALED):
        with flipped(path, dice), pytest.raises(InspectError) as caught:
            open_update(update)
        assert caught.value.code == "ciphertext_damaged"
    hub.inspect_all()
    hub.finish_honestly(south)


def test_a_damaged_update_is_refused_by_name_and_sent_again(hub, north, south, dice):
    hub.open_round(north, south)
    north.take_part()
    with flipped(hub.paths()[0], dice):
        hub.work()
    assert hub.event(code="ciphertext_damaged")["action"] == "update.refused"
    hub.finish_honestly(north, south)


def test_nobody_trains_from_a_damaged_model_and_its_run_waits_until_it_is_restored(hub, cast, north, south, dice):
    digest = hub.federation.current.digest
    path = only(settings.MODEL_DIR, f"{digest}.safetensors")
    with flipped(path, dice):
        run = hub.start_run()
        for agent in (north, south):
            assert agent.poll().status_code == 204
        hub.work()
        run.refresh_from_db()
        assert (run.state, run.all_rounds.count()) == ("PAUSED", 0)
        entry = hub.event(action="run.paused")
        assert (entry["facts"]["reason"], entry["objects"]) == (
            "head_damaged",
            [f"version:{hub.federation.current_id}"],
        )
        told = "The run is paused. The file of the base version is damaged. Restore the models folder from a backup."
        assert told in text(browser(cast.admin).get("/", headers={"Accept": "text/html"}))
    hub.run(runs.resume(Run.objects.get(), actor="user:1"))
    hub.finish_honestly(north, south)


def test_what_cannot_be_written_from_a_damaged_model_is_parked_by_name(hub, clock, dice):
    version = hub.federation.current
    path = only(settings.MODEL_DIR, f"{version.digest}.safetensors")
    with flipped(path, dice):
        for _ in range(3):
            with pytest.raises(storage.StorageError):
                tasks.step(name="write_model", pk=str(version.pk))
            clock.shift(61)
    facts = hub.event(action="step.parked")["facts"]
    assert facts == {"step": "write_model", "tries": 3, "fault": "head_damaged"}
    assert Attempt.objects.get().parked_at is not None
