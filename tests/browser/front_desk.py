"""People of the hub under test, made in the administrator's process (see tests/flows/office.py)."""

# ruff: noqa: PLC0415 - in the test process, models must not be imported

from typing import Any

PASSWORD = "a long enough password"
PEOPLE = {"alice": "admin", "dora": "doctor", "uwe": "user"}
SYSTEM = "system:test"


def make_people(hospital: str) -> None:
    """An administrator, and a doctor and a user of the hospital."""
    from apps.accounts.models import Hospital, User
    from apps.accounts.pipeline import add_member

    for name, role in PEOPLE.items():
        person = User.objects.create_user(name, password=PASSWORD, role=role)
        if role != "admin":
            add_member(person, Hospital.objects.get(name=hospital), actor=SYSTEM)


def make_job(hospital: str) -> None:
    """The workbench is on for the hospital, and its doctor has begun a job and given the lease back."""
    from apps.accounts.models import User
    from apps.federation.models import Participation
    from apps.federation.pipeline.enrol import switch_workbench
    from apps.finetune.pipeline import jobs, lease

    participation = Participation.objects.get(hospital__name=hospital)
    switch_workbench(participation, on=True, actor=SYSTEM)
    doctor = User.objects.get(username="dora")
    lease.take(doctor, participation.federation)
    jobs.create(doctor, participation.federation)
    lease.release(doctor, by="holder")


def speak_up() -> None:
    """Something happens that everybody may see."""
    from apps.audit.api import record, transaction

    with transaction():
        record("hospital.create", actor=SYSTEM, obj="hospital:none")


def newest_round() -> str:
    """The id of the newest round."""
    from apps.federation.models import Round

    return str(Round.objects.latest("opened_at").pk)


def one_round_done() -> bool:
    """Whether a version was published by a round, and its run has ended."""
    from apps.federation.models import Round, Run

    ended = not Run.objects.filter(state__in=["RUNNING", "PAUSED"]).exists()
    return ended and Round.objects.filter(state="PUBLISHED").exists()


def age_session(name: str, seconds: int, what: str = "seen") -> None:
    """Let a person's session be as if nothing had been done (or proven) in it for so much longer."""
    session = _session_of(name)
    session[what] -= seconds
    session.save()


def session_seconds(name: str) -> float:
    """How long a person's session still lasts."""
    import time

    from apps.accounts.pipeline.sessions import ends_at

    return ends_at(_session_of(name)) - time.time()


def _session_of(name: str) -> Any:
    from django.contrib.sessions.models import Session

    from apps.accounts.models import User
    from apps.accounts.session_store import SessionStore

    proof = User.objects.get(username=name).get_session_auth_hash()
    (row,) = [row for row in Session.objects.all() if row.get_decoded().get("_auth_user_hash") == proof]
    return SessionStore(row.pk)


def read_scan(data: bytes) -> tuple[int, list[float], list[float]]:
    """What our Python finds in a scan: the current version's number, the probabilities, and the pixels it sees."""
    from apps.federation.models import Federation
    from apps.federation.pipeline import storage
    from hospintel_core import architectures, backbone, imaging, training

    version = Federation.objects.select_related("current").get(pk="brain-mri").current
    architecture = architectures.get("pixels-head16")
    pixels = imaging.to_input(imaging.read_scan(data), architecture)
    head = storage.read_head(version.digest, architecture.head_schema)
    features = backbone.PixelsBackbone().features(pixels[None])
    return version.number, training.predict(architecture, head, features)[0].tolist(), pixels.ravel().tolist()


def what_is_left_of_readings() -> list[str]:
    """Files of scans that were sent to the hub."""
    from django.conf import settings

    return [path.name for path in (settings.UPLOAD_DIR / "readings").glob("*")]


def make_admin() -> None:
    """An administrator."""
    from apps.accounts.models import User

    User.objects.create_user("alice", password=PASSWORD, role="admin")


def make_doctor(hospital: str = "") -> None:
    """A doctor: of a new hospital that takes part, or of none."""
    from apps.accounts.models import User
    from apps.accounts.pipeline import add_member
    from apps.federation.models import Federation
    from apps.federation.pipeline.enrol import add_hospital

    dora = User.objects.create_user("dora", password=PASSWORD, role="doctor")
    if hospital:
        add_member(dora, add_hospital(Federation.objects.get(pk="brain-mri"), hospital, actor=SYSTEM), actor=SYSTEM)


def read_with_vgg(data: bytes) -> tuple[list[float], list[list[float]]]:
    """The current version's probabilities, and a map for each class, from the exact weights."""
    from apps.federation.models import Federation
    from apps.federation.pipeline import storage
    from hospintel_core import architectures, backbone, imaging, reading

    version = Federation.objects.select_related("current").get(pk="brain-mri").current
    architecture = architectures.get("vgg16-head256")
    head = storage.read_head(version.digest, architecture.head_schema)
    base = reading.load_base(architecture, backbone.find_base_weights(download=False)[1])
    reader = reading.Reader(architecture, base, head)
    found = reader.read(imaging.to_input(imaging.read_scan(data), architecture))
    return list(found.probabilities), [list(one) for one in found.maps]


def propose(seed: int) -> str:
    """A doctor proposes a version, made from a seed. Returns its id."""
    from apps.accounts.models import User
    from apps.federation.models import Federation
    from apps.federation.pipeline import storage
    from apps.federation.pipeline.propose import propose
    from hospintel_core import architectures, weights

    federation = Federation.objects.select_related("current").get(pk="brain-mri")
    head = architectures.initial_head(architectures.get(federation.architecture), seed)
    version, _ = propose(
        federation,
        digest=storage.store_head(weights.dumps(head)),
        source="UPLOAD",
        parent=federation.current,
        author=User.objects.get(username="dora"),
    )
    return str(version.pk)


def reject(version: str) -> None:
    """Another administrator rejects it."""
    from apps.federation.models import ModelVersion
    from apps.federation.pipeline import review

    review.reject(ModelVersion.objects.get(pk=version), actor=SYSTEM, reason="not this one")


def state_of(version: str) -> str:
    """A version's state."""
    from apps.federation.models import ModelVersion

    return ModelVersion.objects.get(pk=version).state


def train_further(path: str) -> None:
    """Write the current model as Keras saves it after a little more training: near it, and not it."""
    from pathlib import Path

    import numpy as np

    from apps.federation.models import Federation
    from apps.federation.pipeline import storage
    from hospintel_core import architectures, h5

    current = Federation.objects.select_related("current").get(pk="brain-mri").current
    pixels = architectures.get("pixels-head16")
    head = storage.read_head(current.digest, pixels.head_schema)
    rng = np.random.default_rng(97)
    moved = {name: (array + rng.normal(0, 1e-4, array.shape)).astype(np.float32) for name, array in head.items()}
    h5.write_model(Path(path), pixels, [], moved)


def publish(seed: int) -> None:
    """A version from a seeded head is published, as the first one was."""
    from apps.federation.models import Federation
    from apps.federation.pipeline import storage
    from apps.federation.pipeline.publish import first_version
    from hospintel_core import architectures, weights

    federation = Federation.objects.get(pk="brain-mri")
    head = architectures.initial_head(architectures.get(federation.architecture), seed)
    first_version(federation, storage.store_head(weights.dumps(head)), actor=SYSTEM)


def read_calibrated(data: bytes) -> tuple[list[float], float, bool]:
    """What our Python finds with the validation set: probabilities, the scan's distance, and whether it is unlike."""
    from apps.federation.models import Federation
    from apps.federation.pipeline import storage
    from apps.federation.pipeline.validation import looks
    from hospintel_core import architectures, backbone, imaging, training
    from hospintel_core.calibration import softmax
    from hospintel_core.domain import Domain, summary

    version = Federation.objects.select_related("current").get(pk="brain-mri").current
    architecture = architectures.get("pixels-head16")
    pixels = imaging.to_input(imaging.read_scan(data), architecture)
    features = backbone.PixelsBackbone().features(pixels[None])
    head = storage.read_head(version.digest, architecture.head_schema)
    probabilities = softmax(training.logits(architecture, head, features), version.calibration["temperature"])[0]
    known = Domain.from_dict(looks("brain-mri").domain, 4)
    distance = float(known.distances(summary(architecture, features))[0])
    return probabilities.tolist(), distance, distance > known.threshold
