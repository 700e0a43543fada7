"""A scan that is sent to the hub: sealed on its way, read once, in memory, and gone."""

import io
import os
import subprocess
import sys
from datetime import timedelta

import numpy as np
import pytest
from browser_side import open_answer, seal
from django.utils import timezone
from hub_client import HubClient
from hub_driver import assert_refused
from PIL import Image

from apps.analyse.models import Reading
from apps.analyse.pipeline import ask, read, warm
from apps.federation.models import HubKey
from apps.federation.pipeline import keys, storage
from apps.federation.pipeline.folder import Folder
from apps.federation.pipeline.publish import first_version
from apps.federation.pipeline.step import Next
from hospintel_core import architectures, backbone, imaging, phantoms, training, weights

KEY = os.urandom(32)


@pytest.fixture
def scan():
    """A synthetic scan as PNG."""
    file = io.BytesIO()
    phantoms.draw(2, np.random.default_rng(5), 200).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def client_of(cast):
    """A browser in which somebody is signed in."""

    def sign_in(name):
        client = HubClient()
        client.force_login(getattr(cast, name))
        return client

    return sign_in


@pytest.fixture
def doctor(hub, client_of):
    """The browser of North's doctor; the model has been written for the page."""
    hub.run([Next("export_model", hub.federation.current_id)])
    return client_of("north_doctor")


def send(client, data, kid=None):
    kid = kid or keys.active_key(HubKey.Kind.RSA).kid
    return client.post(f"/analyse/readings?kid={kid}", data, content_type="application/octet-stream")


def sent(client, data, key=KEY):
    answer = send(client, seal(data, key))
    assert answer.status_code == 202, answer.content
    return Reading.objects.get(), answer.json()["url"]


def test_a_scan_is_read_as_our_python_reads_it(hub, doctor, scan):
    reading, url = sent(doctor, scan)
    assert doctor.get(url).status_code == 202
    read.read(reading.pk)
    found = open_answer(doctor.get(url).content, KEY)
    architecture = architectures.get(hub.federation.architecture)
    pixels = imaging.to_input(imaging.read_scan(scan), architecture)
    head = storage.read_head(hub.federation.current.digest, architecture.head_schema)
    expected = training.predict(architecture, head, backbone.PixelsBackbone().features(pixels[None]))[0]
    assert found["probabilities"] == pytest.approx(expected.tolist(), abs=0.01)
    assert found["model"]["version"] == hub.federation.current.number
    assert (len(found["maps"]), len(found["maps"][0]), found["side"]) == (4, 256, 16)


def test_nothing_of_the_scan_is_anywhere_in_the_clear_and_nothing_is_left_of_it(hub, doctor, scan, settings):
    reading, _ = sent(doctor, scan)
    on_disk = [path.read_bytes() for path in settings.VAR.rglob("*") if path.is_file()]
    on_disk += [path.read_bytes() for path in hub.paths()]
    assert not any(scan[40:80] in data for data in on_disk)
    assert [path.name for path in hub.paths()] == [f"{reading.pk}.sealed"]
    read.read(reading.pk)
    assert hub.paths() == []
    reading.refresh_from_db()
    assert b"probabilities" not in bytes(reading.answer)
    for action, actor in (("reading.ask", reading.user.actor), ("reading.answer", "system:worker")):
        event = hub.event(action=action)
        assert (event["actor"], event["outcome"]) == (actor, "ok")
        assert set(event["facts"]) <= {"size", "address", "milliseconds"}


def test_a_reading_is_done_once(hub, doctor, scan):
    reading, url = sent(doctor, scan)
    read.read(reading.pk)
    first = doctor.get(url).content
    read.read(reading.pk)
    assert doctor.get(url).content == first
    assert len(hub.events(action="reading.answer")) == 1


def test_only_who_asked_gets_the_answer(doctor, client_of, scan):
    reading, url = sent(doctor, scan)
    read.read(reading.pk)
    assert doctor.get(url).status_code == 200
    assert client_of("south_doctor").get(url).status_code == 404
    assert client_of("admin").get(url).status_code == 404
    assert client_of("reader").get(url).status_code == 403


@pytest.mark.parametrize("data", [b"", b"no image", b"\x89PNG\r\n\x1a\n broken"])
def test_what_is_no_scan_is_answered_by_its_code(hub, doctor, data):
    reading, url = sent(doctor, data)
    read.read(reading.pk)
    found = open_answer(doctor.get(url).content, KEY)
    assert found["code"] in {"image_empty", "image_format", "image_unreadable"}
    assert hub.event(action="reading.answer")["facts"]["code"] == found["code"]
    assert hub.paths() == []


def _damaged(sealed):
    return sealed[:-1] + bytes([sealed[-1] ^ 1])


def test_a_worker_loads_the_model_as_soon_as_it_is_written(hub, clock, monkeypatch):
    monkeypatch.setattr(warm, "LOOK_SECONDS", 0.01)
    read._reader.cache_clear()
    beside = warm.warm_beside()
    beside.join(0.1)
    assert beside.is_alive()
    hub.run([Next("export_model", hub.federation.current_id)])
    beside.join(60)
    assert not beside.is_alive()
    assert read._reader.cache_info().currsize == 1
    read.current_reader()
    assert read._reader.cache_info().misses == 1


def test_a_new_version_is_read_with_the_base_that_is_loaded_already(hub):
    hub.run([Next("export_model", hub.federation.current_id)])
    read._base.cache_clear()
    first, _ = read.current_reader()
    head = architectures.initial_head(architectures.get(hub.federation.architecture), 78)
    first_version(hub.federation, storage.store_head(weights.dumps(head)), actor="system:test")
    hub.federation.refresh_from_db()
    hub.run([Next("export_model", hub.federation.current_id)])
    second, _ = read.current_reader()
    assert first != second
    assert read._base.cache_info().misses == 1


# In a process of its own, so that nothing before counts.
MEMORY = """
import resource, sys, django
django.setup()
from apps.analyse.pipeline import read
from hospintel_core import architectures, imaging
data = sys.stdin.buffer.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
image = imaging.read_scan(data)
imaging.to_input(image, architectures.get("vgg16-head256"))
picture = read._picture(image)
print(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before), len(picture))
"""


def test_the_largest_scan_is_read_in_little_memory():
    file = io.BytesIO()
    Image.new("RGBA", (5000, 5000)).save(file, "PNG")
    done = subprocess.run([sys.executable, "-c", MEMORY], input=file.getvalue(), capture_output=True, check=True)
    needed, picture = map(int, done.stdout.split())
    # The file's own picture and one in RGB.
    assert needed < 200e6
    assert picture < 2_000_000


@pytest.mark.parametrize("spoil", [_damaged, lambda sealed: bytes(384) + sealed[384:]], ids=["scan", "key"])
def test_what_was_not_sealed_for_this_hub_is_refused(hub, doctor, scan, spoil):
    assert send(doctor, spoil(seal(scan, KEY))).status_code == 202
    reading = Reading.objects.get()
    read.read(reading.pk)
    assert_refused(doctor.get(f"/analyse/readings/{reading.pk}"), 422, "scan_sealed_wrong")
    assert hub.event(action="reading.answer")["facts"]["code"] == "scan_sealed_wrong"
    assert hub.paths() == []


def test_a_key_that_was_replaced_since_the_page_came_still_opens(doctor, scan):
    sealed, kid = seal(scan, KEY), keys.active_key(HubKey.Kind.RSA).kid
    new = keys.rotate(HubKey.Kind.RSA, actor="system:test")
    try:
        assert send(doctor, sealed, kid).status_code == 202
        read.read(Reading.objects.get().pk)
        assert open_answer(bytes(Reading.objects.get().answer), KEY)["probabilities"]
    finally:
        keys._path("rsa", new.kid).unlink()


def test_sending_is_refused_at_once_where_it_is_in_vain(hub, doctor, scan, monkeypatch):
    assert_refused(send(doctor, b"x" * 411), 422, "scan_sealed_wrong")
    assert_refused(send(doctor, seal(scan, KEY), "f" * 64), 409, "key_unknown")
    monkeypatch.setattr(ask, "MOST_BYTES", 100)
    assert_refused(send(doctor, seal(bytes(101), KEY)), 413, "image_too_large")
    for _ in range(ask.MOST_WAITING):
        assert send(doctor, seal(bytes(100), KEY)).status_code == 202
    assert_refused(send(doctor, seal(bytes(100), KEY)), 409, "readings_waiting")
    assert Reading.objects.count() == ask.MOST_WAITING
    codes = {event["facts"]["code"] for event in hub.events() if event["outcome"] == "denied"}
    assert codes == {"scan_sealed_wrong", "key_unknown", "image_too_large", "readings_waiting"}


def test_a_full_disk_is_told_and_nothing_is_asked(hub, doctor, scan, monkeypatch):
    def full(folder, name, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Folder, "put", full)
    assert_refused(send(doctor, seal(scan, KEY)), 507, "hub_disk_full")
    assert not Reading.objects.exists()
    assert hub.paths() == []


def test_a_reading_that_no_worker_took_is_told_and_forgotten(hub, doctor, scan, clock):
    _, url = sent(doctor, scan)
    clock.shift(timedelta(seconds=ask.PATIENCE_SECONDS + 1))
    Reading.objects.update(created_at=timezone.now() - timedelta(seconds=ask.PATIENCE_SECONDS + 1))
    assert_refused(doctor.get(url), 503, "reading_lost")
    ask.tidy()
    assert len(hub.paths()) == 1
    for path in hub.paths():
        os.utime(path, (0, 0))
    Reading.objects.update(created_at=timezone.now() - timedelta(seconds=ask.KEPT_SECONDS + 1))
    ask.tidy()
    assert hub.paths() == []
    assert not Reading.objects.exists()
