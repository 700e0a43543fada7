"""Who belongs to a federation may act in it; a doctor of no hospital, or of one that takes no part, is told so."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from bench import begin, fill, signed_in
from hub_client import HubClient
from hub_driver import assert_refused
from proposing import proposed

from apps.accounts.models import Role, User
from apps.accounts.pipeline import add_member, remove_member
from apps.federation.pipeline import enrol
from apps.federation.pipeline.membership import is_member
from apps.federation.pipeline.step import Refusal
from apps.finetune.models import Job, Lease, ModelUpload
from apps.finetune.pipeline import jobs, lease, upload_model
from apps.finetune.pipeline.train import train

PASSWORD = "correct horse battery"
SAID = "your account belongs to none of them"


def doctor_of(hospital: Any = None) -> User:
    """A doctor of a hospital that takes no part, or of none."""
    user = User.objects.create_user("islander", password=PASSWORD, role=Role.DOCTOR)
    if hospital is not None:
        add_member(user, hospital, actor="system:test")
    return user


@pytest.fixture(params=["of no hospital", "of a hospital that takes no part"])
def islander(request: Any, cast: Any) -> User:
    return doctor_of(cast.island if "takes" in request.param else None)


def refused(call: Callable[[], Any]) -> str:
    with pytest.raises(Refusal) as raised:
        call()
    assert SAID in raised.value.detail or raised.value.code != "not_a_member"
    return raised.value.code


def test_signing_in_takes_no_lease_and_says_why(hub: Any, islander: User):
    answer = HubClient().post_json("/login", {"username": "islander", "password": PASSWORD})
    assert answer.status_code == 200
    assert SAID in answer.json()["message"]
    assert not Lease.objects.exists()
    token = {"Authorization": f"Bearer {answer.json()['token']}"}
    assert HubClient(headers=token).get("/api/v1/lease").json()["held"] is False


def test_calls_are_refused_and_audited(hub: Any, islander: User):
    client = signed_in(islander)
    version = hub.federation.current
    for path in ("/model", "/api/v1/model", f"/api/v1/models/{version.pk}/model.h5"):
        assert_refused(client.get(path), 403, "not_a_member")
    for path in ("lease", "jobs"):
        assert_refused(client.post_json(f"/api/v1/{path}", {}), 403, "not_a_member")
    page = client.get(f"/models/{version.pk}/model.h5", headers={"Accept": "text/html"})
    assert (page.status_code, SAID in page.text) == (403, True)
    denied = [event for event in hub.events() if event["outcome"] == "denied"]
    assert {(event["actor"], event["facts"]["code"]) for event in denied} == {(islander.actor, "not_a_member")}
    assert len(denied) == 6


def test_no_byte_of_a_model_is_read(hub: Any, islander: User):
    def never() -> Iterator[bytes]:
        pytest.fail("the file was read")
        yield b""

    assert refused(lambda: upload_model.receive(islander, never())) == "not_a_member"
    assert not ModelUpload.objects.exists()


def test_pages_say_so_and_offer_nothing(hub: Any, islander: User):
    browser = signed_in(islander)
    for path, offers in {
        "/": ['href="/model"'],
        "/models/": ['href="/model"', "Upload a model"],
        "/workbench/": ['id="take"'],
        "/models/upload/": ['id="upload-file"', 'id="take-lease"'],
        f"/models/{hub.federation.current.pk}/": ['id="download"'],
    }.items():
        page = browser.get(path, headers={"Accept": "text/html"}).text
        assert [offer for offer in offers if offer in page] == [], path
        assert (SAID in page) == (path in {"/workbench/", "/models/upload/"}), path


def test_once_their_hospital_takes_part_they_belong(hub: Any, cast: Any):
    user = doctor_of(cast.island)
    assert not is_member(user, hub.federation)
    enrol.join(hub.federation, cast.island, actor="system:test")
    assert is_member(user, hub.federation)
    assert 'id="take"' in signed_in(user).get("/workbench/").text
    assert lease.take(user).holder == user


def test_neither_the_group_nor_the_membership_is_enough_alone(hub: Any, cast: Any):
    user = doctor_of()
    user.groups.add(cast.north.members_group)
    assert not is_member(user, hub.federation)
    add_member(user, cast.north, actor="system:test")
    assert is_member(user, hub.federation)
    user.groups.clear()
    assert not is_member(user, hub.federation)


def test_an_administrator_belongs_before_any_hospital_takes_part(hub: Any, cast: Any):
    hub.federation.participations.all().delete()
    assert is_member(cast.admin, hub.federation)
    assert not is_member(cast.north_doctor, hub.federation)


def test_who_has_left_proposes_nothing_more(hub: Any, cast: Any, job: Job):
    fill(job)
    jobs.fine_tune(job, epochs=1)
    train(job.pk)
    job.refresh_from_db()
    remove_member(cast.north_doctor, cast.north, actor="system:test")
    assert refused(lambda: jobs.propose(job)) == "not_a_member"
    assert refused(lambda: lease.held_by(cast.north_doctor, hub.federation)) == "not_a_member"
    assert refused(lambda: proposed(hub, cast.north_doctor)) == "not_a_member"
    assert refused(lambda: begin(cast.north_doctor)) == "not_a_member"
