"""What the page fetches: written by the worker, named by digest, deleted when no version needs it."""

import zlib
from uuid import uuid4

import numpy as np
import pytest
from hub_client import HubClient, body
from hub_driver import assert_refused

from apps.accounts.models import Role, User
from apps.accounts.pipeline import add_member
from apps.federation.pipeline import enrol, storage
from apps.federation.pipeline.export_model import Export, find_file
from apps.federation.pipeline.folder import Folder
from apps.federation.pipeline.publish import first_version
from apps.federation.pipeline.step import Next
from hospintel_core import architectures, browser, weights


@pytest.fixture
def doctor(cast):
    """The browser of North's doctor."""
    client = HubClient()
    client.force_login(cast.north_doctor)
    return client


def test_the_model_is_written_when_it_is_asked_for(hub, doctor, caplog):
    hub.queued()
    answer = doctor.get("/analyse/model")
    assert_refused(answer, 503, "model_not_written")
    assert answer.headers["Retry-After"] == "2"
    # Asking again queues nothing more.
    doctor.get("/analyse/model")
    # The page asks every two seconds: nothing is wrong about that.
    assert [record.name for record in caplog.records if record.name == "django.request"] == []
    waiting = hub.queued()
    assert [task["name"] for task in waiting] == ["export_model"]
    hub.do(waiting)
    found = doctor.get("/analyse/model").json()
    assert (found["version"], found["digest"]) == (hub.federation.current.number, hub.federation.current.digest)
    assert found["classes"] == list(architectures.CLASSES)
    for name in ("base", "head"):
        answer = doctor.get(found[name]["url"])
        data = body(answer)
        assert weights.digest(data) == found[name]["digest"]
        assert len(data) == found[name]["size"]
        assert "immutable" in answer.headers["Cache-Control"]
    head = storage.read_head(hub.federation.current.digest, architectures.get("pixels-head16").head_schema)
    unpacked = browser.unpack(data)
    assert all(np.abs(unpacked[name] - head[name]).max() < 0.001 for name in head)


def test_publishing_writes_it_and_deletes_the_one_before(hub, doctor):
    hub.run([Next("write_model", hub.federation.current_id)])
    before = Export.of(hub.federation.current.digest)
    head = architectures.initial_head(architectures.get("pixels-head16"), 77)
    first_version(hub.federation, storage.store_head(weights.dumps(head)), actor="system:test")
    hub.federation.refresh_from_db()
    hub.run([Next("write_model", hub.federation.current_id)])
    after = Export.of(hub.federation.current.digest)
    assert (before.base, before.head != after.head) == (after.base, True)
    assert not find_file(before.head)
    assert find_file(after.head)
    assert len(hub.events(action="version.exported")) == 2


@pytest.mark.parametrize("name", ["0" * 64, "x", "..", "a" * 65])
def test_a_file_that_is_not_there_is_refused(hub, doctor, name):
    assert doctor.get(f"/analyse/files/{name}").status_code == 404


def test_the_page_is_for_hospitals_that_take_part(hub, cast, doctor):
    """A doctor whose hospital is of no federation gets a page that says so, and nothing of the model."""
    islander = User.objects.create_user("islander", password="correct horse battery", role=Role.DOCTOR)
    add_member(islander, cast.island, actor="system:test")
    client = HubClient()
    client.force_login(islander)
    page = client.get("/analyse/").content.decode()
    assert "your account belongs to none of them" in page
    assert 'id="scan"' not in page
    for path in ("model", f"files/{'0' * 64}", f"readings/{uuid4()}"):
        assert_refused(client.get(f"/analyse/{path}"), 403, "not_a_member")
    assert_refused(client.post("/analyse/readings", b"x", content_type="text/plain"), 403, "not_a_member")
    denied = [event for event in hub.events() if event["outcome"] == "denied"]
    assert {(event["actor"], event["facts"]["code"]) for event in denied} == {(islander.actor, "not_a_member")}
    assert len(denied) == 4
    enrol.join(hub.federation, cast.island, actor="system:test")
    assert 'id="scan"' in client.get("/analyse/").content.decode()


def test_a_base_of_fewer_bits_is_as_small_as_it_says_and_nearly_the_same():
    rng = np.random.default_rng(3)
    base = [
        rng.normal(0, 0.05, shape).astype(np.float32)
        for name, inputs, outputs in browser.VGG16_CONVOLUTIONS
        for shape in ((3, 3, inputs, outputs), (outputs,))
    ]
    # One weight far from all others has its place, too.
    base[0][0, 0, 0, 0] = 40
    weights_in_all = sum(kernel.size for kernel in base[::2])
    for bits, most in ((16, 0.0002), (11, 0.0002), (8, 0.0006)):
        packed = browser.pack_base(base, bits)
        assert 8 * len(packed) / weights_in_all == pytest.approx(bits, rel=0.04)
        found = browser.unpack_base(packed, bits)
        assert max(np.abs(one - other).max() for one, other in zip(base[1:], found[1:], strict=True)) < most
        assert np.abs(base[0] - found[0]).max() < 0.02
        assert packed == browser.pack_base(base, bits)
        assert browser.unpack_base(browser.pack_base([], bits), bits) == []
    with pytest.raises(ValueError, match="12"):
        browser.pack_base(base, 12)


def test_a_layer_without_weights_is_packed():
    base = [np.zeros((3, 3, 3, 64), np.float32), np.ones(64, np.float32)]
    kernel, bias = browser.unpack(zlib.decompress(browser.pack_base(base, 8))).values()
    assert {array.tobytes() for array in (kernel, bias)} == {array.tobytes() for array in base}


def test_a_full_disk_leaves_nothing_half_written(hub, doctor, monkeypatch):
    def full(folder, name, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Folder, "put", full)
    hub.run([Next("export_model", hub.federation.current_id)])
    monkeypatch.undo()
    assert Export.of(hub.federation.current.digest) is None
    hub.run([Next("export_model", hub.federation.current_id)])
    assert Export.of(hub.federation.current.digest) is not None
