"""A hub that keeps its files in a bucket: what lies there, what happens while it is away, and where it lies to us."""

import hashlib
import io
import json

import h5py
import numpy as np
import pytest
from django.core.management import call_command
from django.test import Client
from hub_client import HubClient, body
from hub_driver import assert_refused
from looking import see
from site_agent import SCHEMA

from apps.federation import tasks
from apps.federation.models import Attempt, Update
from apps.federation.pipeline import export_model, model_files, storage, tick, validation
from apps.federation.pipeline.bucket import Bucket
from apps.federation.pipeline.objects import StorageAwayError
from apps.federation.pipeline.step import Next
from apps.federation.pipeline.vault import Vault, VaultError
from hospintel_core import weights

pytestmark = pytest.mark.usefixtures("in_bucket")
SCANS = Vault("bucket-test", "scans", gone="They are gone.")


@pytest.fixture
def model(hub, north):
    """Download the whole Keras model."""

    def get(**headers):
        return north.client.get("/model", headers={**north.headers, **headers})

    assert_refused(get(), 503, "model_not_written")
    hub.work()
    return get


def assert_away(answer):
    assert_refused(answer, 503, "storage_away")
    assert answer.headers["Retry-After"] == "5"


def damaged(place, name):
    """Change one byte of a stored file."""
    data = bytearray(place.get(name))
    data[len(data) // 2] ^= 1
    place.put(name, bytes(data))


def test_a_round_keeps_its_files_in_the_bucket_and_leaves_what_it_should(hub, north, south, model):
    assert isinstance(storage.models(), Bucket)
    hub.open_round(north, south)
    first = hub.federation.current.digest
    hub.finish_honestly(north, south)
    hub.federation.refresh_from_db()
    current = hub.federation.current.digest
    names = {found.name for found in storage.models().list("")}
    export = export_model.Export.of(current)
    assert names >= {storage.head_name(first), storage.head_name(current), f"h5/{current}.h5", f"h5/{current}.json"}
    assert {name for name in names if name.startswith("browser/")} == {
        f"browser/{current}-16.json",
        *(f"browser/{digest}.safetensors" for digest in (export.base, export.head)),
    }
    assert storage.uploads().list("") == []
    with h5py.File(io.BytesIO(body(model()))) as file:
        assert "model_weights" in file


def test_a_download_goes_on_where_it_was_cut_and_sends_what_is_asked_for_alone(model):
    whole = model()
    content = body(whole)
    etag = whole.headers["ETag"]
    rest = model(Range="bytes=1000-", **{"If-Range": etag})
    assert (rest.status_code, body(rest)) == (206, content[1000:])
    part = model(Range="bytes=1000-1999")
    assert (part.headers["Content-Range"], body(part)) == (f"bytes 1000-1999/{len(content)}", content[1000:2000])
    assert model(**{"If-None-Match": etag}).status_code == 304


def test_an_upload_goes_on_when_the_bucket_is_back(hub, north, south, in_bucket):
    round_ = hub.open_round(north, south)
    sealed = north.seal(north.task())
    whole = {"length": len(sealed), "digest": weights.digest(sealed)}
    assert north.put(round_.pk, sealed[:4000], **whole).json() == {"received": 4000}
    in_bucket.away()
    assert_away(north.put(round_.pk, sealed[4000:], offset=4000, **whole))
    assert_away(north.post(sealed))
    assert not Update.objects.exists()
    assert [event for event in hub.events() if event["outcome"] in {"denied", "refused"}] == []
    in_bucket.back()
    assert north.status(round_.pk, whole["digest"])["received"] == 4000
    assert north.put(round_.pk, sealed[4000:], offset=4000, **whole).status_code == 202
    hub.work()
    hub.finish_honestly(south)


def test_who_needs_a_file_is_told_to_come_back(hub, north, cast, model, in_bucket):
    head = f"/api/v1/models/{hub.federation.current.digest}"
    in_bucket.away()
    assert_away(north.client.get(head, headers=north.headers))
    assert_away(model())
    person = HubClient()
    person.force_login(cast.north_doctor)
    page = person.get(f"/models/{hub.federation.current_id}/", headers={"Accept": "text/html"})
    assert (page.status_code, page.headers["Retry-After"]) == (503, "5")
    assert "The hub&#x27;s storage does not answer now. Nothing is lost" in page.content.decode()
    # What needs no file goes on.
    assert Client().get("/healthz").status_code == 200
    assert "Round" in see(cast.admin, "/")
    in_bucket.back()
    assert body(north.client.get(head, headers=north.headers))


def test_ready_names_the_storage_and_the_log_says_why(in_bucket, caplog, hub):
    assert Client().get("/readyz").json()["checks"]["storage"] == "ok"
    storage._probed.cache_clear()
    in_bucket.away()
    assert Client().get("/readyz").json()["checks"]["storage"] == "failed"
    assert "Not ready: storage: The bucket hub-" in caplog.text
    storage._probed.cache_clear()


def test_the_tick_does_what_needs_no_file(hub, north, south, in_bucket, caplog, clock):
    round_ = hub.open_round(north, south)
    hub.configure(min_updates=1, grace=1)
    north.take_part()
    hub.work()
    in_bucket.away()
    clock.shift(2)
    call_command("tick", once=True)
    round_.refresh_from_db()
    assert round_.state == "COLLECTING"
    assert "The storage does not answer; looking again" in caplog.text
    assert [waiting["name"] for waiting in hub.queued()] == ["close"]
    in_bucket.back()


def test_what_workers_do_waits_for_the_bucket_however_long_that_takes(hub, north, south, in_bucket, clock):
    def away_for_five_looks():
        in_bucket.away()
        for _ in range(5):
            with pytest.raises(StorageAwayError):
                hub.work()
            clock.shift(30)
            tasks.enqueue(tick.due())
        in_bucket.back()
        hub.work()

    round_ = hub.open_round(north, south)
    north.take_part()
    away_for_five_looks()
    assert Update.objects.get().state == "ACCEPTED"
    south.take_part()
    away_for_five_looks()
    round_.refresh_from_db()
    assert (round_.state, round_.updates.filter(state="CONSUMED").count()) == ("PUBLISHED", 2)
    assert not Attempt.objects.exists()
    assert hub.events(action="step.parked") == []


def test_an_update_that_was_changed_in_the_bucket_is_refused_before_it_is_opened(hub, north, south):
    round_ = hub.open_round(north, south)
    north.take_part()
    update = Update.objects.get()
    damaged(storage.uploads(), storage.sealed_name(update.pk))
    hub.work()
    update.refresh_from_db()
    assert (update.state, update.code) == ("REFUSED", "ciphertext_damaged")
    assert north.status(round_.pk)["attempts_left"] == 5


def test_a_head_that_was_changed_in_the_bucket_is_never_summed(hub, north, south):
    hub.open_round(north, south)
    damaged(storage.models(), storage.head_name(hub.federation.current.digest))
    with pytest.raises(storage.StorageError, match="has been damaged"):
        storage.read_head(hub.federation.current.digest, SCHEMA)


def test_a_model_file_that_was_changed_in_the_bucket_is_not_served_but_written_again(hub, model):
    content = body(model())
    damaged(storage.models(), model_files.name_of(hub.federation.current.digest))
    assert_refused(model(), 503, "model_not_written")
    hub.work()
    assert body(model()) == content


def test_a_model_file_that_another_put_there_with_a_note_of_their_own_is_not_served(hub, model):
    content, digest = body(model()), hub.federation.current.digest
    note = model_files.name_of(digest).replace(".h5", ".json")
    another = b"x" * len(content)
    storage.models().put(model_files.name_of(digest), another)
    facts = {"sha256": hashlib.sha256(another).hexdigest(), "size": len(another)}
    storage.models().put(note, json.dumps(facts).encode())
    assert_refused(model(), 503, "model_not_written")
    hub.run([Next("write_model", hub.federation.current_id)])
    assert body(model()) == content


def test_a_file_for_the_page_that_was_changed_in_the_bucket_is_not_read_with(hub, model):
    export = export_model.Export.of(hub.federation.current.digest)
    damaged(storage.models(), f"browser/{export.head}.safetensors")
    with pytest.raises(storage.StorageError, match="has been damaged"):
        export_model.read_file(export.head)


def test_scans_lie_sealed_in_the_bucket_and_go_with_their_key(own_keys):
    owner, scan, other = (validation.features_id(f"{number}", "x") for number in range(3))
    SCANS.create(owner)
    SCANS.write(owner, scan, b"a scan" * 100)
    (found,) = storage.uploads().list("scans/")
    assert b"a scan" not in storage.uploads().get(found.name)
    assert SCANS.read(owner, scan) == b"a scan" * 100
    assert SCANS.kept(found.modified + 60) == {owner}
    damaged(storage.uploads(), found.name)
    with pytest.raises(VaultError, match="damaged"):
        SCANS.read(owner, scan)
    SCANS.erase(owner)
    assert storage.uploads().list("scans/") == []
    with pytest.raises(VaultError, match="They are gone"):
        SCANS.write(owner, other, b"late")
    assert SCANS.kept(found.modified + 60) == set()


def test_a_head_is_the_same_whichever_storage_it_came_through(hub, tmp_path, settings):
    arrays = storage.read_head(hub.federation.current.digest, SCHEMA)
    settings.S3, settings.MODEL_DIR = None, tmp_path / "elsewhere"
    digest = storage.store_head(weights.dumps(arrays))
    assert digest == hub.federation.current.digest
    there = storage.read_head(digest, SCHEMA)
    assert all(np.array_equal(arrays[name], there[name]) for name in arrays)
