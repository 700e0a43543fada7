"""`GET /model` and `GET /api/v1/models/<digest>`: who may, what the bytes are, and how a download goes on."""

import io

import h5py
import numpy as np
import on_disk
import pytest
from hub_client import HubClient, body
from hub_driver import assert_refused
from site_agent import ARCHITECTURE, SCHEMA

from apps.audit.models import AuditEntry
from apps.federation.models import ModelVersion
from apps.federation.pipeline import storage, tick
from apps.federation.pipeline.step import Next
from hospintel_core import h5, weights

pytestmark = pytest.mark.usefixtures("either")


def head_of(hub, agent, digest=None, **headers):
    digest = digest or hub.federation.current.digest
    return agent.client.get(f"/api/v1/models/{digest}", headers={**agent.headers, **headers})


@pytest.fixture
def content(hub, north):
    """The current head's bytes."""
    found = body(head_of(hub, north))
    assert weights.digest(found) == hub.federation.current.digest
    return found


def test_a_head_is_served_whole_under_its_digest(hub, north, content):
    answer = head_of(hub, north)
    assert answer.status_code == 200
    assert answer.headers["ETag"] == f'"{hub.federation.current.digest}"'
    assert answer.headers["Content-Length"] == str(len(content))
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert "immutable" in answer.headers["Cache-Control"]
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert set(weights.loads(content, SCHEMA)[0]) == {spec.name for spec in SCHEMA.tensors}
    body(answer)


RANGES = {
    "bytes=0-99": (0, 100),
    "bytes=100-": (100, None),
    "bytes=100-199": (100, 200),
    "bytes=-10": (-10, None),
    "bytes=5-999999999": (5, None),
}


@pytest.mark.parametrize("wanted", RANGES)
def test_a_range_of_a_head_is_served(hub, north, content, wanted):
    start, end = RANGES[wanted]
    answer = head_of(hub, north, Range=wanted)
    part = content[start:end]
    first = content.index(part)
    assert answer.status_code == 206
    assert answer.headers["Content-Range"] == f"bytes {first}-{first + len(part) - 1}/{len(content)}"
    assert answer.headers["Content-Length"] == str(len(part))
    assert body(answer) == part


@pytest.mark.parametrize("wanted", ["bytes=0-", "bytes=0-1,5-6", "items=0-1", "bytes=-", "bytes=9-3", "bytes=a-b"])
def test_a_range_that_is_the_whole_or_that_we_do_not_serve_gets_the_whole(hub, north, content, wanted):
    answer = head_of(hub, north, Range=wanted)
    assert answer.status_code == 200
    assert "Content-Range" not in answer.headers
    assert body(answer) == content


@pytest.mark.parametrize("wanted", ["bytes=999999999-", "bytes=-0"])
def test_a_range_behind_the_end_cannot_be_served(hub, north, content, wanted):
    answer = head_of(hub, north, Range=wanted)
    assert answer.status_code == 416
    assert answer.headers["Content-Range"] == f"bytes */{len(content)}"
    assert answer.json()["code"] == "range_unsatisfiable"


def test_a_download_goes_on_only_while_the_file_is_the_same(hub, north, content):
    etag = f'"{hub.federation.current.digest}"'
    same = head_of(hub, north, Range="bytes=100-", **{"If-Range": etag})
    assert (same.status_code, body(same)) == (206, content[100:])
    other = head_of(hub, north, Range="bytes=100-", **{"If-Range": '"another"'})
    assert (other.status_code, body(other)) == (200, content)


def test_a_copy_that_is_current_is_not_sent_again(hub, north, content):
    etag = f'"{hub.federation.current.digest}"'
    answer = head_of(hub, north, **{"If-None-Match": f'"other", {etag}'})
    assert (answer.status_code, answer.content, answer.headers["ETag"]) == (304, b"", etag)


@pytest.mark.parametrize("digest", ["0" * 64, "x", "0" * 200])
def test_an_unknown_head_is_refused(hub, north, digest):
    assert_refused(head_of(hub, north, digest), 404, "model_unknown")
    assert hub.event(code="model_unknown")["actor"] == north.row.actor


@on_disk.in_folder
def test_a_head_that_is_known_but_not_on_disk_is_refused(hub, north):
    on_disk.head_path(hub.federation.current.digest).unlink()
    assert_refused(head_of(hub, north), 404, "model_unknown")


@on_disk.in_folder
def test_a_file_that_lies_beside_the_heads_is_not_served(hub, north):
    (on_disk.head_path("x").parent / "secret.safetensors").write_bytes(b"secret")
    assert_refused(head_of(hub, north, "secret"), 404, "model_unknown")


@pytest.fixture
def model(hub):
    """Download the whole Keras model as an agent or a person."""

    def get(who, path="/model", **headers):
        if hasattr(who, "token"):
            return who.client.get(path, headers={**who.headers, **headers})
        client = HubClient()
        if who is not None:
            client.force_login(who)
        return client.get(path, headers=headers)

    return get


def test_the_model_of_a_new_hub_is_written_when_it_is_asked_for(hub, north, model):
    """The hub has its version 1 and an empty model folder."""
    answer = model(north)
    assert_refused(answer, 503, "model_not_written")
    assert answer.headers["Retry-After"] == "2"
    hub.work()
    answer = model(north)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="global_model.h5"'
    content = body(answer)
    with h5py.File(io.BytesIO(content)) as file:
        assert "model_config" in file.attrs


def test_the_served_model_holds_the_current_head(hub, north, south, model, tmp_path):
    hub.open_round(north, south)
    hub.finish_honestly(north, south)
    hub.federation.refresh_from_db()
    version = hub.federation.current
    path = tmp_path / "downloaded.h5"
    path.write_bytes(body(model(north)))
    head = h5.read_head(path, ARCHITECTURE)
    stored = storage.read_head(version.digest, SCHEMA)
    assert all(np.array_equal(head[name], stored[name]) for name in stored)
    assert model(north).headers["ETag"] == f'"{version.digest}"'


def test_only_the_current_model_is_kept_and_the_heads_of_all(hub, north, south):
    hub.open_round(north, south, rounds=2)
    for _ in range(2):
        hub.finish_honestly(north, south)
    hub.federation.refresh_from_db()
    digest = hub.federation.current.digest
    assert {found.name for found in storage.models().list("h5/")} == {f"h5/{digest}.h5", f"h5/{digest}.json"}
    assert all(storage.find_head(version.digest) for version in ModelVersion.objects.all())


def test_impatient_callers_queue_the_writing_of_a_model_once(hub, north, model):
    for _ in range(5):
        assert model(north).status_code == 503
        assert "write_model" not in {item.step for item in tick.due()}
    assert [task["name"] for task in hub.queued()] == ["write_model"]


@pytest.mark.parametrize("path", ["/model", "/api/v1/model", "/api/v1/federations/brain-mri/model"])
@pytest.mark.parametrize(
    ("who", "status", "code"),
    [
        ("admin", 503, "model_not_written"),
        ("north_doctor", 503, "model_not_written"),
        ("reader", 403, "permission_denied"),
        (None, 401, "login_required"),
    ],
)
def test_the_model_is_for_doctors_and_admins(hub, cast, model, path, who, status, code):
    assert_refused(model(getattr(cast, who or "", None), path), status, code)
    if status != 503:
        person = getattr(cast, who or "", None)
        assert hub.event(code=code)["actor"] == (f"user:{person.pk}" if person else "unknown")


def test_the_model_goes_on_like_a_head(hub, north, model):
    model(north)
    hub.work()
    whole = body(model(north))
    etag = model(north).headers["ETag"]
    part = model(north, Range="bytes=1000-", **{"If-Range": etag})
    assert (part.status_code, body(part)) == (206, whole[1000:])
    assert model(north, **{"If-None-Match": etag}).status_code == 304


def test_who_takes_the_model_along_is_recorded_once_a_minute_and_whatever_piece_is_asked_for(
    hub, cast, north, model, clock
):
    hub.run([Next("write_model", hub.federation.current_id)])
    digest = hub.federation.current.digest

    def taken():
        return list(AuditEntry.objects.filter(action="version.download").values_list("actor", "visibility"))

    assert model(cast.admin, **{"If-None-Match": f'"{digest}"'}).status_code == 304
    assert taken() == []
    for wanted in ("bytes=1-", "bytes=0-", "bytes=-99999999"):
        assert model(cast.admin, Range=wanted).status_code in {200, 206}
    assert taken() == [(cast.admin.actor, "admin")]
    clock.shift(61)
    model(cast.admin)
    model(north)
    assert taken()[1:] == [(cast.admin.actor, "admin"), (f"agent:{north.credentials.agent_id}", cast.north.visibility)]
    assert model(cast.reader).status_code == 403
    assert len(taken()) == 3


def test_the_model_of_an_unknown_federation_is_refused(hub, cast, model):
    assert_refused(model(cast.admin, "/api/v1/federations/other/model"), 404, "model_unknown")
