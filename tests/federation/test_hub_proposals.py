"""A person proposes a version: it waits for an administrator who is not its author, and nothing stops for it."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import on_disk
import pytest
from django.db import connections
from hub_client import HubClient
from hub_driver import assert_refused
from proposing import changed_head, proposed
from site_agent import report

from apps.federation.models import ModelVersion
from apps.federation.pipeline import runs, storage
from apps.federation.pipeline.review import publish_held, reject
from apps.federation.pipeline.step import Refusal
from hospintel_core.errors import WeightsError

CROWD = 50


def decide(user, version, verb, **body):
    client = HubClient()
    client.force_login(user)
    return client.post_json(f"/api/v1/models/{version.pk}/{verb}", body)


def refused(code, call, *args, **fields):
    with pytest.raises(Refusal) as caught:
        call(*args, **fields)
    assert caught.value.code == code
    return caught.value


def test_a_doctors_proposal_waits_and_no_run_pauses(hub, cast, north, south):
    open_round = hub.open_round(north, south, rounds=2)
    measured = {"held_out": {"before": report(7).to_dict(), "after": report(9).to_dict()}}
    version = proposed(hub, cast.north_doctor, note="  our  scanner ", report=measured)
    stored = ModelVersion.objects.get(pk=version.pk)
    assert (stored.state, stored.source, stored.number, stored.author) == ("HELD", "FINE_TUNE", None, cast.north_doctor)
    assert (stored.verdict, stored.note, stored.report) == ("proposed by north_doctor", "our scanner", measured)
    assert stored.parent == hub.federation.current
    entry = hub.event(action="version.propose")
    assert (entry["actor"], entry["object"]) == (cast.north_doctor.actor, f"version:{version.pk}")
    assert entry["objects"] == [f"version:{stored.parent_id}"]
    assert hub.event(action="version.held")["facts"]["reason"] == "proposed"
    open_round.refresh_from_db()
    open_round.run.refresh_from_db()
    assert (open_round.state, open_round.run.state) == ("COLLECTING", "RUNNING")
    hub.finish_honestly(north, south)


def test_publishing_a_proposal_supersedes_the_open_round_and_the_next_starts_from_it(hub, cast, north, south):
    open_round = hub.open_round(north, south, rounds=2)
    north.take_part()
    hub.work()
    version = proposed(hub, cast.north_doctor)
    answer = decide(cast.admin, version, "publish", reason="better at North")
    assert (answer.status_code, answer.json()["number"]) == (200, 2)
    assert answer.json()["verdict"] == "proposed by north_doctor; published by an admin: better at North"
    hub.work()
    open_round.refresh_from_db()
    assert (open_round.state, open_round.reason) == ("FAILED", "superseded")
    hub.federation.refresh_from_db()
    assert (hub.federation.current, hub.federation.current.decided_by) == (version, cast.admin.actor)
    again = hub.current_round()
    assert (again.base, again.state, again.number, again.run.state) == (version, "COLLECTING", 1, "RUNNING")
    assert north.task().model == version.digest
    hub.finish_honestly(north, south)
    assert on_disk.file_path(hub.current_round().base.digest)


def test_a_superseded_round_is_told_as_one_and_what_was_sent_to_it_as_unused(hub, cast, north, south):
    open_round = hub.open_round(north, south, rounds=2)
    north.take_part()
    hub.work()
    decide(cast.admin, proposed(hub, cast.north_doctor), "publish")
    client = HubClient(headers={"Accept": "text/html"})
    client.force_login(cast.south_doctor)
    page = client.get(f"/rounds/{open_round.pk}/").text
    told = north.status(open_round.pk)
    assert (told["state"], told["round_state"], told["round_reason"]) == ("ACCEPTED", "FAILED", "superseded")
    assert "Round 1 was superseded by another version." in page
    assert "what the hospitals had sent to it is not used." in page
    assert "The round starts again from that version by itself." in page
    assert "It was accepted, and its round ended without a version." in page
    assert "Superseded</span>" in page
    assert "Failed</span>" not in page
    # No other round has opened yet.
    assert "Returned, not used" in client.get("/").text
    runs.abort(open_round.run, actor=cast.admin.actor)
    assert "It is tried again when the run is resumed" in client.get(f"/rounds/{open_round.pk}/").text


def test_a_proposal_from_an_older_version_says_what_is_not_in_it(hub, cast, north, south):
    version = proposed(hub, cast.north_doctor)
    client = HubClient(headers={"Accept": "text/html"})
    client.force_login(cast.admin)
    assert "is current by now" not in client.get("/models/").text
    hub.open_round(north, south)
    hub.finish_honestly(north, south)
    page = client.get("/models/").text
    assert "Version 2 is current by now: what was learned since version 1 is not in this one." in page
    assert f"Version {version.digest[:12]} becomes the current model. Agents train from it;" in page


def test_a_proposal_is_rejected_with_a_reason_and_may_be_made_again(hub, cast):
    version = proposed(hub, cast.north_doctor)
    assert_refused(decide(cast.admin, version, "reject"), 400, "reason_missing")
    assert decide(cast.admin, version, "reject", reason="too few scans").json()["state"] == "REJECTED"
    version.refresh_from_db()
    assert version.decided_by == cast.admin.actor
    assert proposed(hub, cast.north_doctor, digest=version.digest).state == "HELD"


@pytest.mark.parametrize("verb", ["publish", "reject"])
def test_nobody_decides_about_their_own(hub, cast, verb):
    version = proposed(hub, cast.admin)
    assert_refused(decide(cast.admin, version, verb, reason="mine"), 403, "own_version")
    version.refresh_from_db()
    assert (version.state, hub.federation.current.number) == ("HELD", 1)
    denied = hub.event(code="own_version")
    assert (denied["actor"], denied["object"], denied["outcome"]) == (
        cast.admin.actor,
        f"version:{version.pk}",
        "denied",
    )


def test_doctors_and_users_do_not_review(hub, cast):
    version = proposed(hub, cast.north_doctor)
    for who in (cast.south_doctor, cast.north_doctor, cast.reader):
        assert_refused(decide(who, version, "publish"), 403, "permission_denied")


def test_who_may_not_propose_is_refused(hub, cast):
    assert refused("permission_denied", proposed, hub, cast.reader).status == 403
    assert ModelVersion.objects.count() == 1


def test_what_cannot_be_proposed(hub, cast):
    doctor, current = cast.north_doctor, hub.federation.current
    refused("note_long", proposed, hub, doctor, note="x" * 201)
    refused("version_unchanged", proposed, hub, doctor, digest=current.digest)
    waiting = proposed(hub, doctor)
    refused("version_waiting", proposed, hub, doctor, digest=waiting.digest)
    refused("parent_unknown", proposed, hub, doctor, by=0.5, parent=waiting)
    refused("value_range", proposed, hub, doctor, by=1e4)
    for wrong in ({"elsewhere": {}}, {"held_out": {"later": {}}}, {"held_out": {"after": {"confusion": []}}}):
        refused("report_shape", proposed, hub, doctor, by=0.5, report=wrong)
    with pytest.raises(storage.StorageError):
        proposed(hub, doctor, digest="0" * 64)
    with pytest.raises(WeightsError):
        proposed(hub, doctor, by=np.nan)
    with pytest.raises(ValueError, match="ROUND"):
        proposed(hub, doctor, by=0.5, source="ROUND")
    assert ModelVersion.objects.count() == 2


def test_what_belongs_to_a_proposal_happens_with_it_or_not_at_all(hub, cast):
    def fail(version):
        raise RuntimeError(str(version))

    with pytest.raises(RuntimeError):
        proposed(hub, cast.north_doctor, also=fail)
    assert ModelVersion.objects.count() == 1
    assert hub.events(action="version.propose") == []
    seen = []
    version = proposed(hub, cast.north_doctor, also=seen.append)
    assert seen == [version]


def crowd(call):
    """Call a function of a number in fifty threads at once; return what each came to."""
    gate = Barrier(CROWD)

    def one(number):
        gate.wait()
        try:
            return call(number)
        except Refusal as refusal:
            return refusal.code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(CROWD) as pool:
        return list(pool.map(one, range(CROWD)))


def test_of_fifty_who_publish_the_same_proposal_one_wins(hub, cast):
    second = type(cast.admin).objects.create_user("second", password="correct horse battery", role="admin")
    version = proposed(hub, cast.north_doctor)
    admins = [cast.admin, second]

    def publish(number):
        publish_held(ModelVersion.objects.get(pk=version.pk), actor=admins[number % 2].actor)
        return "published"

    assert sorted(crowd(publish)) == ["published"] + ["version_state"] * (CROWD - 1)
    assert ModelVersion.objects.exclude(number=None).count() == 2
    assert len(hub.events(action="version.published")) == 2


def test_of_publish_and_reject_one_wins(hub, cast):
    version = proposed(hub, cast.north_doctor)

    def either(number):
        found = ModelVersion.objects.get(pk=version.pk)
        if number % 2:
            publish_held(found, actor=cast.admin.actor)
        else:
            reject(found, actor=cast.admin.actor, reason="no")
        return "done"

    assert sorted(crowd(either)).count("done") == 1
    version.refresh_from_db()
    assert len(hub.events(action=f"version.{version.state.lower()}")) == (2 if version.state == "PUBLISHED" else 1)


def test_the_same_head_proposed_fifty_times_at_once_waits_once(hub, cast):
    digest = changed_head(hub)

    def again(number):
        return proposed(hub, cast.north_doctor, digest=digest).state

    assert sorted(crowd(again)) == ["HELD"] + ["version_waiting"] * (CROWD - 1)
