"""With a validation set: probabilities with a temperature, and a scan compared with the set, on page and hub alike."""

import json
from io import BytesIO

import pytest
from browser_side import open_answer
from PIL import Image
from test_readings import KEY, client_of, doctor, scan, sent
from validating import ready_set

from apps.analyse.pipeline import read
from apps.federation.models import ModelVersion
from apps.federation.pipeline import storage, validation
from apps.federation.pipeline.rollback import rollback
from apps.federation.pipeline.step import Next
from apps.federation.pipeline.validate import labelled
from hospintel_core import architectures, backbone, imaging, training
from hospintel_core.calibration import softmax, temperature
from hospintel_core.domain import Domain, summary

__all__ = ["client_of", "doctor", "scan"]
PIXELS = architectures.get("pixels-head16")


@pytest.fixture
def found(hub, cast):
    made = ready_set(hub, cast.admin)
    hub.federation.refresh_from_db()
    return made


def asked(client):
    answer = client.get("/analyse/model")
    assert answer.status_code == 200, answer.content
    return answer.json()


def test_without_a_set_the_page_is_told_so(doctor):
    assert (asked(doctor)["temperature"], asked(doctor)["domain"]) == (None, None)


def test_the_page_is_told_the_temperature_and_what_the_set_looks_like(hub, found, doctor):
    scans = labelled(found)
    head = storage.read_head(hub.federation.current.digest, PIXELS.head_schema)
    told = asked(doctor)
    assert told["temperature"] == temperature(training.logits(PIXELS, head, scans.features), scans.labels)
    known = Domain.from_dict(told["domain"], 4)
    assert known.n == 40
    assert (known.distances(summary(PIXELS, scans.features)) <= known.threshold).mean() >= 0.95
    assert len(json.dumps(told)) < 60_000
    kept = hub.federation.current.calibration
    assert (kept["set"], kept["n"], kept["temperature"]) == (found.digest, 40, told["temperature"])
    assert hub.event(action="version.calibrated")["facts"] == {"temperature": f"{told['temperature']:.4f}"}


def read_on_hub(client, data):
    reading, url = sent(client, data)
    read.read(reading.pk)
    return open_answer(client.get(url).content, KEY)


def test_the_hub_reads_with_the_same_temperature_and_compares_too(hub, found, doctor, scan):
    answer = read_on_hub(doctor, scan)
    told = asked(doctor)
    pixels = imaging.to_input(imaging.read_scan(scan), PIXELS)
    features = backbone.PixelsBackbone().features(pixels[None])
    head = storage.read_head(hub.federation.current.digest, PIXELS.head_schema)
    expected = softmax(training.logits(PIXELS, head, features), told["temperature"])[0]
    assert answer["model"]["temperature"] == told["temperature"] != 1
    assert answer["probabilities"] == pytest.approx(expected.tolist(), abs=0.01)
    known = Domain.from_dict(told["domain"], 4)
    distance = float(known.distances(summary(PIXELS, features))[0])
    assert answer["domain"] == {"distance": pytest.approx(distance), "unlike": distance > known.threshold}


def test_what_is_no_scan_of_the_kind_is_told_so(hub, found, doctor):
    file = BytesIO()
    Image.new("L", (64, 64), 255).save(file, "PNG")
    assert read_on_hub(doctor, file.getvalue())["domain"]["unlike"] is True


def test_when_the_set_goes_so_does_what_it_looks_like_and_the_temperature_stays(hub, cast, found, doctor):
    before = asked(doctor)["temperature"]
    validation.delete(found, actor=cast.admin.actor)
    found.refresh_from_db()
    assert found.domain == {}
    assert (asked(doctor)["temperature"], asked(doctor)["domain"]) == (before, None)


def test_another_set_gives_another_temperature_and_a_version_that_comes_back_keeps_its_own(hub, cast, found):
    version = hub.federation.current
    first = version.calibration
    other = ready_set(hub, cast.admin, seed=9)
    version.refresh_from_db()
    assert version.calibration["set"] == other.digest != first["set"]
    validation.delete(other, actor=cast.admin.actor)
    newer = ModelVersion.objects.create(
        federation=hub.federation, digest="6" * 64, source="ROUND", parent=version, number=2, state="PUBLISHED"
    )
    hub.configure(current=newer)
    again, _ = rollback(version, actor=cast.admin.actor, reason="as it was")
    assert again.calibration == version.calibration


def test_what_was_found_on_this_very_set_is_not_found_again(hub, found):
    hub.run([Next("validate", hub.federation.current_id)] * 2)
    assert len(hub.events(action="version.calibrated")) == 1
