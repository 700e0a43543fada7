"""The lease: one holder at a time, whoever asks at once; who has lost it writes no more."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connections
from django.utils import timezone
from hub_client import HubClient

from apps.accounts.models import Role, User
from apps.accounts.pipeline import add_member
from apps.audit.api import transaction
from apps.federation.pipeline.step import Refusal
from apps.finetune import tasks
from apps.finetune.models import Lease
from apps.finetune.pipeline import lease

MANY = 50


@pytest.fixture
def doctor(cast: Any) -> User:
    return cast.north_doctor


@pytest.fixture
def other(cast: Any) -> User:
    return cast.south_doctor


def code_of(raised: Any) -> tuple[str, int]:
    return raised.value.code, raised.value.status


def at_once(count: int, call: Any) -> list[Any]:
    def one(number: int) -> Any:
        try:
            return call(number)
        except Refusal as refusal:
            return refusal.code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_of_fifty_who_take_it_at_once_one_has_it(hub: Any, cast: Any):
    people = [User.objects.create_user(f"doctor{number}", role=Role.DOCTOR) for number in range(MANY)]
    for person in people:
        add_member(person, cast.north, actor="system:test")
    answers = at_once(MANY, lambda number: lease.take(people[number]))
    won = [answer for answer in answers if isinstance(answer, Lease)]
    assert len(won) == 1
    assert [answer for answer in answers if answer == "lease_held"] == ["lease_held"] * (MANY - 1)
    assert lease.current(hub.federation) == won[0]
    assert len(hub.events(action="lease.take")) == 1


def test_one_person_who_takes_it_fifty_times_at_once_has_one(hub: Any, doctor: User):
    answers = at_once(MANY, lambda _: lease.take(doctor).token)
    assert answers == [1] * MANY
    assert Lease.objects.count() == 1


def test_the_database_itself_lets_nobody_in_beside_the_holder(hub: Any, doctor: User, other: User):
    held = lease.take(doctor)
    now = timezone.now()
    with pytest.raises(IntegrityError), transaction():
        Lease.objects.create(federation=hub.federation, holder=other, token=2, since=now, until=now)
    lease.release(doctor, by="holder")
    with pytest.raises(IntegrityError), transaction():
        Lease.objects.create(federation=hub.federation, holder=other, token=held.token, since=now, until=now)


def test_who_comes_second_is_told_who_has_it_and_until_when(hub: Any, doctor: User, other: User):
    held = lease.take(doctor)
    with pytest.raises(Refusal) as raised:
        lease.take(other)
    assert code_of(raised) == ("lease_held", 409)
    assert raised.value.extra == {"holder": "north_doctor", "until": held.until.isoformat()}
    assert "north_doctor" in raised.value.detail


def test_a_token_grows_with_each_lease(hub: Any, doctor: User, other: User):
    tokens = []
    for person in (doctor, other, doctor):
        tokens.append(lease.take(person).token)
        assert lease.release(person, by="holder") == 1
    assert tokens == [1, 2, 3]
    assert lease.release(doctor, by="holder") == 0


def test_it_ends_an_hour_after_its_holders_last_write(hub: Any, doctor: User, other: User, clock: Any):
    held = lease.take(doctor)
    clock.shift(timedelta(minutes=59))
    lease.held_by(doctor, hub.federation)
    clock.shift(timedelta(minutes=59))
    tasks.tick()
    assert lease.current(hub.federation) == held
    clock.shift(timedelta(minutes=1))
    assert lease.current(hub.federation) is None
    with pytest.raises(Refusal) as raised:
        lease.held_by(doctor, hub.federation)
    assert code_of(raised) == ("lease_lost", 409)
    tasks.tick()
    tasks.tick()
    entry = hub.event(action="lease.expired")
    assert (entry["actor"], entry["facts"]["by"]) == ("system:tick", "time")
    assert lease.take(other).token == 2


def test_an_expired_one_is_free_before_the_tick_looks(hub: Any, doctor: User, other: User, clock: Any):
    old = lease.take(doctor)
    clock.shift(timedelta(minutes=61))
    assert lease.take(other).token == 2
    old.refresh_from_db()
    assert old.state == "EXPIRED"
    with pytest.raises(Refusal) as raised:
        lease.renew(old)
    assert code_of(raised) == ("lease_lost", 409)


def test_a_write_in_the_moment_of_its_end_keeps_it(hub: Any, doctor: User, clock: Any):
    read_by_the_tick = lease.take(doctor)
    clock.shift(timedelta(minutes=59))
    lease.held_by(doctor, hub.federation)
    assert not lease._ended(read_by_the_tick, lease.LeaseState.EXPIRED, actor=lease.SYSTEM, by="time")
    assert lease.current(hub.federation) is not None


def test_a_write_of_who_lost_it_is_undone(hub: Any, doctor: User, other: User):
    stale = lease.take(doctor)
    lease.release(doctor, by="holder")
    lease.take(other)

    def write() -> None:
        with transaction():
            User.objects.filter(pk=doctor.pk).update(last_name="written")
            lease.renew(stale)

    with pytest.raises(Refusal):
        write()
    doctor.refresh_from_db()
    assert doctor.last_name == ""


def test_signing_out_releases_it(hub: Any, doctor: User):
    client = HubClient()
    client.force_login(doctor)
    assert client.post("/api/v1/lease").json()["mine"] is True
    client.post("/accounts/logout/")
    assert lease.current(hub.federation) is None
    assert hub.event(action="lease.released")["facts"]["by"] == "logout"


def test_an_admin_ends_somebody_elses(hub: Any, cast: Any, doctor: User, other: User):
    lease.take(doctor)
    with pytest.raises(Refusal) as raised:
        lease.give_back(other, hub.federation)
    assert code_of(raised) == ("lease_lost", 409)
    lease.give_back(cast.admin, hub.federation)
    assert lease.current(hub.federation) is None
    entry = hub.event(action="lease.released")
    assert (entry["actor"], entry["facts"]["by"]) == (cast.admin.actor, "admin")


def test_everybody_who_is_signed_in_sees_who_has_it(hub: Any, cast: Any, doctor: User):
    held = lease.take(doctor)
    client = HubClient()
    client.force_login(cast.reader)
    page = client.get("/", headers={"Accept": "text/html"}).content.decode()
    assert "north_doctor has the fine-tuning lease" in page
    assert held.until.strftime("%H:%M") in page
    assert client.get("/api/v1/lease").json()["holder"] == "north_doctor"
