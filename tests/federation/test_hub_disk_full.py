"""A full disk, which is a real one: a file system of a few kilobytes, mounted for the test.

A limit on file sizes would not do: it fails with another error (EFBIG), and only the size of one file counts for it.
"""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import on_disk
import pytest
from django.db import connection
from full_disk import filled
from hub_driver import assert_refused
from site_agent import payload
from world import DATABASE, database_file

from apps.federation.models import Agent, Attempt, Update
from apps.federation.pipeline import parts
from hospintel_core import weights


@pytest.fixture
def uploads(small_disk, hub, settings):
    """The upload folder on a disk that holds two sealed updates and a bit."""
    settings.UPLOAD_DIR = small_disk("small-uploads", 64)
    return settings.UPLOAD_DIR


def test_an_upload_to_a_full_disk_is_refused_and_goes_on_when_there_is_room(hub, north, south, uploads):
    round_ = hub.open_round(north, south)
    sealed = north.seal(north.task())
    whole = {"length": len(sealed), "digest": weights.digest(sealed)}
    assert north.put(round_.pk, sealed[:4000], **whole).status_code == 200
    with filled(uploads):
        assert_refused(north.put(round_.pk, sealed[4000:], offset=4000, **whole), 507, "hub_disk_full")
        event = hub.event(code="hub_disk_full")
        assert (event["actor"], event["outcome"]) == (north.row.actor, "denied")
        # What still fitted into the last block is kept.
        here = north.status(round_.pk, whole["digest"])["received"]
        assert 4000 <= here < len(sealed)
    assert north.put(round_.pk, sealed[here:], offset=here, **whole).status_code == 202
    hub.work()
    hub.finish_honestly(south)


def test_a_first_part_for_which_there_is_no_room_is_refused(hub, north, south, uploads):
    round_ = hub.open_round(north, south)
    with filled(uploads):
        assert_refused(north.put(round_.pk, north.seal(north.task())), 507, "hub_disk_full")
    assert not Update.objects.exists()
    hub.finish_honestly(north, south)


def test_a_multipart_upload_to_a_full_disk_is_refused_and_leaves_nothing(hub, north, south, uploads):
    hub.open_round(north, south)
    sealed = north.seal(north.task())
    (uploads / "parts").mkdir()
    with filled(uploads):
        assert_refused(north.post(sealed), 507, "hub_disk_full")
        assert hub.files() == {"filler"}
    assert hub.event(code="hub_disk_full")["actor"] == north.row.actor
    assert north.post(sealed).status_code == 200
    hub.work()
    hub.finish_honestly(south)


def test_an_accepted_update_is_safe_when_the_disk_fills_up_behind_it(hub, north, south, uploads):
    round_ = hub.open_round(north, south)
    north.take_part()
    hub.work()
    with filled(uploads):
        assert_refused(south.put(round_.pk, south.seal(south.task())), 507, "hub_disk_full")
        hub.tick()
        assert north.status(round_.pk)["state"] == "ACCEPTED"
    hub.finish_honestly(south)


def test_an_aggregation_waits_until_there_is_room_for_its_result(hub, north, south, small_disk, settings, clock):
    models = small_disk("small-models", 96)
    shutil.copytree(settings.MODEL_DIR, models, dirs_exist_ok=True)
    settings.MODEL_DIR = models
    round_ = hub.open_round(north, south)
    with filled(models):
        for agent in (north, south):
            agent.take_part()
        hub.work()
        for _ in range(5):
            round_.refresh_from_db()
            assert (round_.state, Attempt.objects.count()) == ("AGGREGATING", 0)
            clock.shift(16)
            hub.tick()
        assert round_.updates.filter(state="ACCEPTED").count() == 2
    clock.shift(16)
    hub.tick()
    round_.refresh_from_db()
    assert round_.state == "PUBLISHED"
    assert on_disk.head_path(round_.version.digest).exists()
    assert [path.suffix for path in (models / "heads").iterdir()] == [".safetensors"] * 2


@pytest.mark.skipif(connection.vendor != "sqlite", reason="another database has a disk of its own")
def test_an_upload_is_answered_although_the_audit_has_no_room_either(hub, north, south, small_disk, caplog, settings):
    """Database and uploads on one full disk: the caller still gets its 507, and later everything goes on."""
    round_ = hub.open_round(north, south)
    sealed = north.seal(north.task())
    disk = small_disk("small-hub", 4096)
    settings.UPLOAD_DIR = disk / "uploads"
    here = Path(connection.settings_dict["NAME"])
    # By SQLite itself: what was written last need not be in the file yet.
    with closing(sqlite3.connect(here)) as source, closing(sqlite3.connect(disk / DATABASE)) as copy:
        source.backup(copy)
    # As a worker would, somebody else has the database open.
    with closing(sqlite3.connect(disk / DATABASE)) as worker, database_file(disk / DATABASE):
        worker.execute("SELECT count(*) FROM audit_auditentry").fetchall()
        # Not even that the agent was seen can be written.
        Agent.objects.update(last_seen=None)
        with filled(disk):
            assert_refused(north.put(round_.pk, sealed), 507, "hub_disk_full")
        assert "hub_disk_full of a call could not be written to the audit" in caplog.text
        assert north.put(round_.pk, sealed).status_code == 202
        hub.work()
        hub.finish_honestly(south)


def test_a_large_update_fits_or_is_refused_whole(hub, north, south, uploads):
    """The disk has room for a part of it only: nothing half is ever taken for an update."""
    round_ = hub.open_round(north, south)
    large = north.seal(north.task(), payload() + bytes(80_000))
    assert_refused(north.put(round_.pk, large), 507, "hub_disk_full")
    assert not Update.objects.exists()
    parts.forget_round(round_.pk)
    hub.finish_honestly(north, south)
