"""What the hub's administrator does and sees, in a process of its own whose settings are those of the hub under test.

The test process has other settings. Only plain values travel between the two.
"""

# ruff: noqa: PLC0415 - in the test process, models must not be imported

import multiprocessing
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
ADMIN = "system:test"
ANSWER_SECONDS = 240


class Office:
    """Calls functions of this module in the administrator's process."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._pool = ProcessPoolExecutor(
            max_workers=1,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_set_up,
            initargs=(dict(environment),),
        )

    def __call__(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return self._pool.submit(_answer, function, *args, **kwargs).result(ANSWER_SECONDS)

    def close(self) -> None:
        self._pool.shutdown()


def _set_up(environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    import django

    django.setup()


def _answer(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    from django.db import close_old_connections

    # As before each request: the database may have been started anew since the last question.
    close_old_connections()
    try:
        return function(*args, **kwargs)
    except Exception as error:
        # Its words can travel between processes; not every exception can, and one that cannot breaks the pool.
        raise RuntimeError(f"{type(error).__name__}: {error}") from error


def prepare(architecture: str) -> None:
    """As the demo does: the database, and a default federation; pixels-head16 needs no VGG16 weights."""
    from django.core.management import call_command

    from apps.federation.pipeline import bootstrap, keys

    call_command("migrate", verbosity=0)
    keys.ensure_keys()
    bootstrap.ensure_federation(architecture=architecture)


def create_federation(slug: str, **limits: object) -> None:
    from apps.federation.pipeline import bootstrap

    bootstrap.ensure_federation(slug, architecture="pixels-head16", **limits)


def issue_codes(slug: str, hospitals: list[str]) -> list[str]:
    """A one-time code for each new hospital of the federation."""
    from apps.accounts.pipeline import create_hospital
    from apps.federation.models import Federation
    from apps.federation.pipeline import enrol

    federation = Federation.objects.get(pk=slug)
    codes = []
    for name in hospitals:
        hospital = create_hospital(name, actor=ADMIN)
        enrol.join(federation, hospital, actor=ADMIN)
        codes.append(enrol.issue_code(hospital, actor=ADMIN)[0])
    return codes


def start_run(slug: str, rounds: int, **plan: object) -> str:
    from apps.federation.models import Federation
    from apps.federation.pipeline import runs
    from apps.federation.tasks import enqueue

    plan = {"learning_rate": 3e-3, **plan}
    run, following = runs.start_run(Federation.objects.get(pk=slug), rounds=rounds, plan=plan, actor=ADMIN)
    enqueue(following)
    return str(run.pk)


def abort(run_id: str) -> None:
    from apps.federation.models import Run
    from apps.federation.pipeline import runs
    from apps.federation.tasks import enqueue

    enqueue(runs.abort(Run.objects.get(pk=run_id), actor=ADMIN))


def revoke(hospital: str) -> None:
    from apps.federation.models import Agent
    from apps.federation.pipeline import revoke
    from apps.federation.tasks import enqueue

    enqueue(revoke.revoke(Agent.objects.get(hospital__name=hospital), actor=ADMIN))


def online(slug: str) -> int:
    from apps.federation.models import Federation
    from apps.federation.queries import situation, status

    return int(status(situation(Federation.objects.get(pk=slug)))["clients_online"])


def run_state(run_id: str) -> str:
    from apps.federation.models import Run

    return str(Run.objects.get(pk=run_id).state)


def running(slug: str) -> str:
    """The run of the federation that is under way, or nothing."""
    from apps.federation.models import Run

    found = Run.objects.filter(federation=slug, state="RUNNING").first()
    return str(found.pk) if found else ""


def models_unread() -> int:
    """How many uploaded models no worker has read to the end."""
    from apps.finetune.models import ModelUpload
    from apps.finetune.states import MODEL_UPLOAD_LIVE

    return ModelUpload.objects.filter(state__in=MODEL_UPLOAD_LIVE).count()


def update_states(run_id: str) -> list[str]:
    """States of all updates to the run's rounds."""
    from apps.federation.models import Update

    return sorted(Update.objects.filter(round__run=run_id).values_list("state", flat=True))


def rounds(run_id: str) -> list[dict[str, Any]]:
    """What became of each round of a run, oldest first."""
    from apps.federation.models import Round

    found = []
    for round_ in Round.objects.filter(run=run_id).select_related("base", "version").order_by("opened_at"):
        version = getattr(round_, "version", None)
        updates = round_.updates.select_related("agent__hospital").order_by("agent__hospital__name")
        evaluations = round_.evaluations.select_related("agent__hospital").order_by("agent__hospital__name")
        found.append(
            {
                "id": str(round_.pk),
                "number": round_.number,
                "attempt": round_.attempt,
                "state": round_.state,
                "reason": round_.reason,
                "expected": len(round_.expected),
                "base": round_.base.digest,
                "version": version and version.number,
                "digest": version and version.digest,
                "verdict": version and version.verdict,
                "updates": [(update.agent.hospital.name, update.state) for update in updates],
                "reports": {
                    kind: [e.agent.hospital.name for e in evaluations if e.kind == kind]
                    for kind in ("TRAIN", "EVALUATE")
                },
            }
        )
    return found


def attendance(round_id: str) -> list[dict[str, Any]]:
    """Who was in a round and who was not, as it was kept when it closed."""
    from apps.federation.models import Attendance

    found = Attendance.objects.filter(round=round_id).select_related("agent__hospital")
    same = ("presence", "waited_for", "share", "classes")
    return [{"hospital": row.agent.hospital.name, **{name: getattr(row, name) for name in same}} for row in found]


def what_is_left(run_id: str) -> list[str]:
    """Ciphertexts, round keys and unfinished uploads of the run that are still on disk."""
    from apps.federation.models import Round, Update
    from apps.federation.pipeline import keys, storage

    kept = set(keys.kept_round_keys())
    found = [f"key of {pk}" for pk in Round.objects.filter(run=run_id).values_list("pk", flat=True) if pk in kept]
    updates = Update.objects.filter(round__run=run_id).values_list("pk", flat=True)
    return found + [f"ciphertext of {pk}" for pk in updates if storage.uploads().find(storage.sealed_name(pk))]


def events(action: str, obj: str | None = None, **facts: object) -> list[dict[str, Any]]:
    """Audit entries of an action (on an object) with these facts, oldest first."""
    from apps.audit.feed import as_event
    from apps.audit.models import AuditEntry

    entries = AuditEntry.objects.filter(action=action, **({} if obj is None else {"object": obj}))
    found = [as_event(entry) for entry in entries.order_by("seq")]
    return [event for event in found if facts.items() <= event["facts"].items()]


def audit_holds() -> bool:
    from apps.audit.api import verify

    return verify().ok


def create_doctor(username: str, password: str) -> str:
    """A doctor of a hospital of the same name, which takes part; returns the username."""
    from apps.accounts.models import Role
    from apps.accounts.pipeline import add_member, create_hospital, create_person
    from apps.federation.pipeline import bootstrap, enrol

    user = create_person(username, password, role=Role.DOCTOR, actor=ADMIN)
    hospital = create_hospital(f"Hospital of {username}", actor=ADMIN)
    add_member(user, hospital, actor=ADMIN)
    enrol.join(bootstrap.ensure_federation(), hospital, actor=ADMIN)
    return username


def create_doctor_of(username: str, password: str, hospital: str) -> str:
    """A doctor of a hospital that takes part, whose workbench is switched on; returns the username."""
    from apps.accounts.models import Hospital, Role
    from apps.accounts.pipeline import add_member, create_person
    from apps.federation.models import Participation
    from apps.federation.pipeline.enrol import switch_workbench

    user = create_person(username, password, role=Role.DOCTOR, actor=ADMIN)
    add_member(user, Hospital.objects.get(name=hospital), actor=ADMIN)
    switch_workbench(Participation.objects.get(hospital__name=hospital), on=True, actor=ADMIN)
    return username


def create_admin(username: str, password: str) -> tuple[str, str]:
    """An administrator with a second factor; returns the username and the secret as people type it."""
    from apps.accounts.models import Role
    from apps.accounts.pipeline import create_person

    create_person(username, password, role=Role.ADMIN, actor=ADMIN)
    return username, set_up_second_factor(username)


def create_bare_admin(username: str, password: str) -> None:
    """An administrator without a second factor, where the hub asks for none."""
    from apps.accounts.models import Role
    from apps.accounts.pipeline import create_person

    create_person(username, password, role=Role.ADMIN, actor=ADMIN)


def _person(username: str) -> Any:
    from apps.accounts.models import User

    return User.objects.get(username=username)


def actor_of(username: str) -> str:
    """Under which name the audit knows somebody."""
    return str(_person(username).actor)


def deactivate(username: str) -> None:
    from apps.accounts.pipeline import set_active

    set_active(_person(username), active=False, actor=ADMIN)


def make_user(username: str) -> None:
    from apps.accounts.models import Role
    from apps.accounts.pipeline import change_role

    change_role(_person(username), Role.USER, actor=ADMIN)


def leave(username: str) -> None:
    from apps.accounts.pipeline import remove_member

    user = _person(username)
    remove_member(user, user.memberships.get().hospital, actor=ADMIN)


def new_password(username: str) -> None:
    """As `manage.py changepassword` does."""
    from unittest import mock

    from django.core.management import call_command

    with mock.patch("getpass.getpass", return_value="staple battery horse"):
        call_command("changepassword", username)


def note(username: str) -> None:
    """Something happens that concerns one hospital."""
    from apps.audit.api import record, transaction

    with transaction():
        record("test.note", actor=ADMIN, visibility=_person(username).memberships.get().hospital.visibility)


def note_to_all(times: int = 1) -> None:
    """Something happens that everybody may see, so often at once."""
    from apps.audit.api import record, transaction

    with transaction():
        for _ in range(times):
            record("test.note_to_all", actor=ADMIN)


def set_least_updates(slug: str, least: int) -> None:
    """How many updates a round of the federation needs."""
    from apps.federation.models import Federation

    Federation.objects.filter(pk=slug).update(min_updates=least)


def set_up_second_factor(name: str) -> str:
    """Set up a person's second factor with the step before; returns the secret as people type it."""
    from authenticator import code_of

    from apps.accounts.models import User
    from apps.accounts.pipeline import second_factor

    user = User.objects.get(username=name)
    sealed = second_factor.new_secret(user)
    secret, _ = second_factor.shown(sealed, user)
    second_factor.enrol(user, sealed, code_of(secret, -1))
    return secret


def switch_workbench_on(hospital: str, slug: str) -> None:
    """Let the hospital take part in the federation, and its doctors use the workbench."""
    from apps.accounts.models import Hospital
    from apps.federation.models import Federation
    from apps.federation.pipeline import enrol

    federation, joining = Federation.objects.get(pk=slug), Hospital.objects.get(name=hospital)
    enrol.join(federation, joining, actor=ADMIN)
    enrol.switch_workbench(federation.participations.get(hospital=joining), on=True, actor=ADMIN)


def head_of_job(job: str, epochs: int) -> str:
    """The digest of what a draft gives when nobody disturbs it: the worker's own steps, done here and not kept."""
    from types import SimpleNamespace

    from apps.federation.pipeline import storage
    from apps.finetune.models import Job
    from apps.finetune.pipeline import train
    from hospintel_core import weights

    claim = SimpleNamespace(job=Job.objects.get(pk=job), lost=threading.Event(), tell=lambda _: None)
    claim.job.epochs = epochs
    work = train._Training(claim)
    base = storage.read_head(claim.job.base.digest, work.architecture.head_schema)
    return weights.digest(weights.dumps(work._head(base, *work._features())))


def job_as_kept(job: str) -> dict[str, Any]:
    """What no answer tells of a job: the digest of its head, how many workers have had it, its versions."""
    from apps.federation.models import ModelVersion
    from apps.finetune.models import Job

    found = Job.objects.get(pk=job)
    versions = ModelVersion.objects.filter(digest=found.digest, source="FINE_TUNE").values_list("state", flat=True)
    return {"digest": found.digest, "attempts": found.attempts, "versions": list(versions)}


def attempts_of(pk: str) -> list[str]:
    """The steps that were begun on something and have not ended well."""
    from apps.federation.models import Attempt

    return list(Attempt.objects.filter(object_id=pk).values_list("step", flat=True))


def audit_end() -> int:
    """The number of the newest entry."""
    from apps.audit.models import AuditHead

    return int(AuditHead.objects.get(pk=1).seq)


def contradictions() -> list[tuple[str, str]]:
    """What agents hold against the audit, as hospital and code."""
    from apps.federation.pipeline.witness import contradictions

    return [(found.hospital, found.code) for found in contradictions()]
