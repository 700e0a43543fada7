"""With a validation set: probabilities with a temperature, and a scan compared with the set, on page and hub alike."""

import json
from importlib import import_module
from io import BytesIO

import pytest
from browser_side import open_answer
from django.apps import apps as django_apps
from PIL import Image
from test_readings import KEY, client_of, doctor, scan, sent
from validating import ENOUGH, LEAST, ready_set

from apps.analyse.pipeline import read
from apps.federation.models import ModelVersion, ValidationSet
from apps.federation.pipeline import storage, validation
from apps.federation.pipeline.rollback import rollback
from apps.federation.pipeline.step import Next
from apps.federation.pipeline.validate import labelled
from hospintel_core import architectures, backbone, imaging, training
from hospintel_core.architectures import CLASSES
from hospintel_core.calibration import softmax, temperature
from hospintel_core.domain import Domain, summary

__all__ = ["client_of", "doctor", "scan"]
PIXELS = architectures.get("pixels-head16")


@pytest.fixture
def found(hub, cast):
    made = ready_set(hub, cast.admin, ENOUGH)
    hub.federation.refresh_from_db()
    return made


def asked(client):
    answer = client.get("/analyse/model")
    assert answer.status_code == 200, answer.content
    return answer.json()


def test_without_a_set_the_page_is_told_so(doctor):
    told = asked(doctor)
    assert (told["temperature"], told["domain"], told["no_domain"]) == (None, None, "no_set")


@pytest.mark.parametrize("least", [LEAST, ENOUGH - 1])
def test_from_few_scans_there_is_no_check_and_page_and_hub_say_why(hub, cast, doctor, scan, least):
    found = ready_set(hub, cast.admin, {**dict.fromkeys(CLASSES, LEAST), "glioma": least})
    assert found.domain == {}
    told, answer = asked(doctor), read_on_hub(doctor, scan)
    assert (told["domain"], told["no_domain"]) == (None, "few_scans")
    assert (answer["domain"], answer["model"]["no_domain"]) == (None, "few_scans")
    # It measures and calibrates all the same.
    assert told["temperature"] is not None


@pytest.mark.parametrize(("counts", "axes", "kept"), [(ENOUGH, 4, True), (ENOUGH, 16, False), (LEAST, 4, False)])
def test_what_an_earlier_hub_told_of_a_set_is_told_no_more(hub, cast, found, doctor, counts, axes, kept):
    """The migration empties what tells too much; the page says that the set is to be brought anew."""
    older = {**found.domain, "variances": [1.0] * axes}
    ValidationSet.objects.update(domain=older, counts=dict.fromkeys(CLASSES, counts))
    import_module("apps.federation.migrations.0010_smaller_domains").forget(django_apps, None)
    found.refresh_from_db()
    assert found.domain == (older if kept else {})
    told = asked(doctor)
    assert told["no_domain"] == ("" if kept else "prepared_before" if counts == ENOUGH else "few_scans")


def test_the_page_is_told_the_temperature_and_what_the_set_looks_like(hub, found, doctor):
    scans = labelled(found)
    head = storage.read_head(hub.federation.current.digest, PIXELS.head_schema)
    told = asked(doctor)
    assert told["temperature"] == temperature(training.logits(PIXELS, head, scans.features), scans.labels)
    known = Domain.from_dict(told["domain"], 4)
    assert known.n == 4 * ENOUGH
    assert (known.distances(summary(PIXELS, scans.features)) <= known.threshold).mean() >= 0.95
    assert len(json.dumps(told)) < 60_000
    kept = hub.federation.current.calibration
    assert (kept["set"], kept["n"], kept["temperature"]) == (found.digest, 4 * ENOUGH, told["temperature"])
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
