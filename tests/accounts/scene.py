"""The scene of the matrix: the permanent cast and their agents, a hub in the middle of its work, and who is who.

It is built once a process and copied for each call, so that no call sees what another one changed.
"""

import time
import uuid
from dataclasses import dataclass
from datetime import timedelta
from io import BytesIO
from typing import Any

import on_disk
from django.apps import apps
from django.conf import settings
from django.utils import timezone
from hub_client import HubClient
from hub_driver import Hub, empty_queue
from PIL import Image
from site_agent import SiteAgent, report
from world import SYSTEM, World, build

from apps.accounts.models import (
    ApiToken,
    FirstAdminLink,
    Hospital,
    LoginAttempts,
    Membership,
    PasswordLink,
    RecoveryCode,
    Role,
    SecondFactor,
    User,
)
from apps.accounts.pipeline import add_member, change_role
from apps.accounts.pipeline.sessions import PROVEN, SEEN, STARTED
from apps.accounts.session_store import SessionStore
from apps.analyse.models import Reading
from apps.federation.models import (
    Attempt,
    EnrolmentCode,
    Federation,
    ModelVersion,
    Participation,
    Round,
    ValidationReport,
    ValidationSet,
)
from apps.federation.pipeline import enrol, validation
from apps.finetune.models import ModelUpload
from apps.finetune.pipeline import jobs, lease, scans
from hospintel_site.models import Process, Timing

# Who calls. The outsider is a doctor who belongs to no hospital; Island's hospital takes part in no federation.
PEOPLE = ("admin", "north_doctor", "north_user", "south_doctor", "south_user", "outsider")
AGENTS = ("north_agent", "south_agent", "island_agent")
CALLERS = ("anonymous", *PEOPLE, *AGENTS)


@dataclass(frozen=True)
class Scene:
    """What there is to call for, and with what each caller calls."""

    world: World
    people: dict[str, User]
    sessions: dict[str, str]
    finished: Round
    open: Round
    old: ModelVersion
    held: ModelVersion
    codes: dict[str, EnrolmentCode]
    memberships: dict[str, Membership]

    @property
    def hospitals(self) -> dict[str, Hospital]:
        """The three hospitals by their short names."""
        return {name: getattr(self.world.cast, name) for name in ("north", "south", "island")}

    def agent(self, name: str) -> SiteAgent:
        """A hospital's agent."""
        return SiteAgent(self.world.agents[name.removesuffix("_agent")])

    def sign_in_again(self) -> None:
        """Let everybody's session have begun now, however long ago the scene was built: on a slow machine they end."""
        now = int(time.time())
        for key in self.sessions.values():
            session = SessionStore(key)
            session.update({STARTED: now, SEEN: now, PROVEN: now})
            session.save()

    def client(self, caller: str, **options: Any) -> HubClient:
        """A browser in which this person is signed in; an agent's calls carry its token."""
        headers = self.agent(caller).headers if caller in AGENTS else {}
        client = HubClient(raise_request_exception=False, headers=headers, **options)
        if caller in PEOPLE:
            client.cookies[settings.SESSION_COOKIE_NAME] = self.sessions[caller]
        return client


def _people(world: World) -> dict[str, User]:
    cast = world.cast
    people = {name: getattr(cast, name) for name in ("admin", "north_doctor", "south_doctor")}
    for name in ("north", "south"):
        user = User.objects.create_user(f"{name}_user", password="correct horse battery", role=Role.USER)
        add_member(user, getattr(cast, name), actor=SYSTEM)
        people[user.username] = user
    # Something that only admins may know has happened.
    change_role(people["north_user"], Role.DOCTOR, actor=SYSTEM)
    change_role(people["north_user"], Role.USER, actor=SYSTEM)
    people["outsider"] = User.objects.create_user("outsider", password="correct horse battery", role=Role.DOCTOR)
    return people


def _session(user: User) -> str:
    client = HubClient()
    client.force_login(user)
    return client.cookies[settings.SESSION_COOKIE_NAME].value


def _train(hub: Hub, north: SiteAgent, south: SiteAgent) -> tuple[Round, Round]:
    """One run that has ended, and one in whose first round North's update is in and South's is awaited."""
    hub.open_round(north, south)
    finished = hub.finish_honestly(north, south)
    for agent in (north, south):
        agent.evaluate(report())
        hub.work()
    collecting = hub.open_round(north, south)
    north.take_part()
    hub.work()
    return finished, collecting


def _held(hub: Hub) -> ModelVersion:
    """A version that waits for an admin."""
    source = hub.federation.current
    digest = "5" * 64
    on_disk.head_path(digest).write_bytes(on_disk.head_path(source.digest).read_bytes())
    return ModelVersion.objects.create(
        federation=hub.federation, digest=digest, state="HELD", source="ROUND", parent=source, verdict="worse"
    )


def _picture() -> BytesIO:
    file = BytesIO()
    Image.new("L", (8, 8)).save(file, "PNG")
    file.seek(0)
    return file


def _job(doctor: User, hospital: Hospital) -> None:
    """A draft of a job with one scan, of who has the lease; the workbench is on for that hospital alone."""
    participation = Participation.objects.get(hospital=hospital)
    enrol.switch_workbench(participation, on=True, actor=SYSTEM)
    scans.add(jobs.create(doctor, participation.federation), [("a.png", _picture())], label=0)


def _validation_set(admin: User) -> None:
    """A validation set with one scan, what was measured on it, and a measuring that was given up."""
    federation = Federation.objects.get()
    validation.add(admin, federation, [("a.png", _picture())], label=0)
    long_ago = timezone.now() - timedelta(hours=1)
    first = ModelVersion.objects.get(number=1)
    Attempt.objects.create(step="validate", object_id=first.pk, tries=3, seen_at=long_ago, parked_at=long_ago)
    ValidationReport.objects.create(
        version=first,
        validation_set=ValidationSet.objects.get(),
        confusion=[[0] * 4] * 4,
        n=0,
        correct=0,
        loss_micro=0,
    )


def _upload(doctor: User) -> None:
    """The lease, and a model that its holder uploaded, which was refused."""
    held = lease.take(doctor)
    ModelUpload.objects.create(
        federation=held.federation,
        author=doctor,
        lease=held,
        parent=ModelVersion.objects.get(number=1),
        state="REFUSED",
        code="model_link",
        size=1,
        digest="0" * 64,
        received_at=timezone.now(),
    )


def build_scene() -> Scene:
    """Build it in an empty database."""
    # What a test before left there is of another database.
    empty_queue()
    world = build()
    hub = Hub(Federation.objects.get())
    agents = [SiteAgent(world.agents[name]) for name in ("north", "south")]
    finished, collecting = _train(hub, *agents)
    hub.federation.refresh_from_db()
    people = _people(world)
    # Long used, by whoever made the first administrator.
    FirstAdminLink.objects.create(token_hash="f" * 64, expires_at=timezone.now(), used_at=timezone.now())
    PasswordLink.objects.create(user=people["north_user"], token_hash="e" * 64, expires_at=timezone.now())
    # Of somebody who does not call.
    owner = User.objects.create_user("with_factor", password="correct horse battery", has_second_factor=True)
    SecondFactor.objects.create(user=owner, sealed_secret="d" * 64, last_step=0)
    RecoveryCode.objects.create(user=owner, code_hash="c" * 64)
    ApiToken.objects.create(user=owner, token_hash="b" * 64, hint="hip_bbbb", expires_at=timezone.now())
    Reading.objects.create(user=owner, kid="k")
    LoginAttempts.objects.create(key="a" * 64, count=1, until=timezone.now())
    Process.objects.create(pk=uuid.uuid4(), kind="web", version="1")
    Timing.objects.create(what="request", name="status", outcome="2xx")
    _upload(people["north_doctor"])
    _job(people["north_doctor"], world.cast.north)
    _validation_set(people["admin"])
    memberships = {
        f"{name}_doctor": Membership.objects.get(user=people[f"{name}_doctor"]) for name in ("north", "south")
    }
    return Scene(
        world=world,
        people=people,
        sessions={name: _session(user) for name, user in people.items()},
        finished=finished,
        open=collecting,
        old=ModelVersion.objects.get(number=1),
        held=_held(hub),
        codes={name: enrol.issue_code(getattr(world.cast, name), actor=SYSTEM)[1] for name in ("north", "south")},
        memberships=memberships,
    )


def nothing() -> uuid.UUID:
    """The id of what is not there."""
    return uuid.UUID(int=404)


def first_row(scene: Scene, label: str) -> Any:
    """The key of a row of a model, to open its pages in Django admin with."""
    if label == "accounts.user":
        return scene.people["north_user"].pk
    found = apps.get_model(label)._default_manager.first()
    assert found is not None, f"the scene needs a {label}"
    return found.pk
