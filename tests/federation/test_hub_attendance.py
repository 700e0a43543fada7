"""Who is in a version, who is not and why, which classes went with the missing, and who is told what of it."""

import pytest
from hub_client import HubClient
from looking import see

from apps.federation.attendance import attended, made_in
from apps.federation.models import Attendance, Round
from apps.federation.pipeline import enrol, rollback, runs
from apps.federation.pipeline.revoke import revoke
from apps.federation.visibility import own_hospitals
from hospintel_core.aggregate import shares
from hospintel_core.report import Report


@pytest.fixture
def west(enrolled, hub):
    """The agent of a third hospital, and of its agents the first."""
    return enrolled(enrol.add_hospital(hub.federation, "West Clinic", actor="system:test"))


@pytest.fixture
def east(enrolled, hub):
    return enrolled(enrol.add_hospital(hub.federation, "East Clinic", actor="system:test"))


def counted(*classes):
    """A report that measured so many scans of each class, all named right."""
    rows = [[0] * 4 for _ in range(4)]
    for place, count in enumerate(classes):
        rows[place][place] = count
    return Report(tuple(map(tuple, rows)), loss_micro=1000)


def rows_of(round_):
    """The kept rows by hospital."""
    found = Attendance.objects.filter(round=round_).select_related("agent__hospital")
    return {row.agent.hospital.name.split()[0]: row for row in found}


def told(round_, person, hub):
    hub.federation.refresh_from_db()
    found = attended(Round.objects.select_related("run__federation").get(pk=round_.pk), own_hospitals(person))
    return found, {one.hospital.split()[0]: one for one in (*found.inside, *found.outside)}


def test_the_share_of_each_is_that_of_the_rule():
    assert shares("fedavg", [300, 100]) == [0.75, 0.25]
    assert shares("mean", [300, 100]) == [0.5, 0.5]
    assert shares("fedavg", []) == []


@pytest.mark.parametrize(("rule", "parts"), [("fedavg", (0.75, 0.25)), ("mean", (0.5, 0.5))])
def test_who_is_in_it_is_kept_with_samples_share_and_classes(hub, north, south, rule, parts):
    hub.configure(rule=rule)
    round_ = hub.open_round(north, south)
    north.take_part(num_samples=300, measured=counted(3, 1, 0, 6))
    south.take_part(num_samples=100, measured=counted(0, 2, 2, 0))
    hub.work()
    found = rows_of(round_)
    assert {name: (row.presence, row.waited_for) for name, row in found.items()} == {
        "North": ("IN", True),
        "South": ("IN", True),
    }
    assert [(found[name].samples, found[name].share) for name in ("North", "South")] == [
        (300, parts[0]),
        (100, parts[1]),
    ]
    assert [found[name].classes for name in ("North", "South")] == [[3, 1, 0, 6], [0, 2, 2, 0]]


def test_each_that_is_missing_is_kept_with_why(hub, cast, clock, north, south, west, east, enrolled):
    never = enrolled(cast.island)
    hub.configure(min_updates=2)
    for agent in (north, south, west, east):
        agent.poll()
    clock.shift(1)
    hub.start_run()
    round_ = hub.current_round()
    revoked = enrolled(cast.south)
    north.take_part(num_samples=50)
    south.take_part(num_samples=150)
    west.put(round_.pk, west.seal(west.task(), b"nothing"))
    clock.shift(5)
    assert revoked.task() is not None
    hub.work()
    clock.shift(hub.federation.grace)
    hub.tick()
    refused = round_.updates.get(state="REFUSED")
    assert refused.code
    assert {
        (row.agent.hospital.name, row.presence, row.code, row.waited_for)
        for row in Attendance.objects.select_related("agent__hospital")
    } == {
        ("North Clinic", "IN", "", True),
        ("South Clinic", "IN", "", True),
        ("South Clinic", "LATE", "", False),
        ("West Clinic", "REFUSED", refused.code, True),
        ("East Clinic", "ABSENT", "", True),
    }
    assert never.row.pk not in set(Attendance.objects.values_list("agent", flat=True))


def test_over_selection_and_selection_are_told_apart(hub, clock, north, south, west, east):
    hub.configure(selection="random", selection_fraction=0.5, over_select=0.5)
    agents = [north, south, west, east]
    for agent in agents:
        agent.poll()
    clock.shift(1)
    hub.start_run()
    round_ = hub.current_round()
    asked = [next(one for one in agents if one.credentials.agent_id == pk) for pk in round_.expected]
    clock.shift(6)
    for agent in agents:
        agent.poll()
    for seed, agent in enumerate(asked[:2]):
        agent.take_part(seed=seed)
        hub.work()
    (other,) = (agent for agent in agents if agent not in asked)
    presence = dict(Attendance.objects.values_list("agent", "presence"))
    assert [presence[agent.row.pk] for agent in [*asked, other]] == ["IN", "IN", "NOT_NEEDED", "NOT_SELECTED"]


def test_a_revoked_agent_that_was_expected_is_named(hub, north, south, west):
    round_ = hub.open_round(north, south, west)
    for seed, agent in enumerate((north, south)):
        agent.take_part(seed=seed)
    revoke(west.row, actor="user:1")
    hub.work()
    row = rows_of(round_)["West"]
    assert (row.presence, row.code) == ("REFUSED", "agent_revoked")


def test_a_round_without_a_quorum_keeps_who_was_missing_and_nobody_has_a_share(hub, cast, clock, north, south):
    round_ = hub.open_round(north, south)
    north.take_part()
    hub.work()
    clock.shift(hub.federation.deadline)
    hub.tick()
    found = rows_of(round_)
    assert [(found[name].presence, found[name].share) for name in ("North", "South")] == [("IN", None), ("LATE", None)]
    page = see(cast.reader, f"/rounds/{round_.pk}/")
    assert "The round made no version." in page


def test_an_aborted_round_keeps_nothing(hub, north, south):
    round_ = hub.open_round(north, south)
    north.take_part()
    hub.work()
    hub.run(runs.abort(round_.run, actor="user:1"))
    assert not Attendance.objects.exists()


def test_the_audit_names_who_is_in_a_version_and_counts_who_is_not(hub, clock, north, south, west):
    round_ = hub.open_round(north, south, west)
    for seed, agent in enumerate((north, south)):
        agent.take_part(seed=seed)
    hub.work()
    clock.shift(hub.federation.grace)
    hub.tick()
    entry = hub.events(action="version.published")[-1]
    inside = sorted(f"agent:{agent.row.pk}" for agent in (north, south))
    assert entry["objects"] == [f"round:{round_.pk}", *inside]
    counts = {"agents": 2, "hospitals": 2, "waited_for": 3, "late": 1, "absent": 0, "not_selected": 0, "not_needed": 0}
    assert counts.items() <= entry["facts"].items()


# --- Who is told what -------------------------------------------------------------------------------------------------


@pytest.fixture
def two_of_three(hub, cast, clock, north, south, west):
    """A round of two versions: in the first all three measured, the second is without South."""
    hub.open_round(north, south, west, rounds=2)
    north.take_part(seed=1, num_samples=300, measured=counted(4, 0, 0, 2))
    south.take_part(seed=2, num_samples=100, measured=counted(1, 5, 0, 0))
    west.take_part(seed=3, num_samples=100, measured=counted(3, 0, 1, 0))
    clock.shift(6)
    hub.work()
    round_ = hub.current_round()
    assert round_.number == 2
    assert south.task() is not None
    north.take_part(seed=1, num_samples=300, measured=counted(4, 0, 0, 2))
    west.take_part(seed=3, num_samples=100, measured=counted(3, 0, 1, 0))
    hub.work()
    clock.shift(hub.federation.grace)
    hub.tick()
    round_.refresh_from_db()
    assert round_.state == "PUBLISHED"
    return round_


def test_an_administrator_sees_shares_and_what_went_with_the_missing(hub, cast, two_of_three):
    found, by = told(two_of_three, cast.admin, hub)
    assert [(by[name].share, by[name].samples) for name in ("North", "West", "South")] == [
        (0.75, 300),
        (0.25, 100),
        (None, None),
    ]
    assert [(lost.name, lost.missing, lost.of, lost.whole) for lost in found.lost] == [
        ("glioma", 1, 8, False),
        ("meningioma", 5, 5, True),
        ("notumor", 0, 1, False),
        ("pituitary", 0, 2, False),
    ]
    assert (found.own, found.withheld) == (False, False)
    assert found.said == "2 hospitals; 1 agent is not in it: it was waited for."
    page = see(cast.admin, f"/rounds/{two_of_three.pk}/")
    assert "Nobody in it has any" in page


def test_of_two_in_it_neither_learns_the_others_share(hub, cast, two_of_three):
    found, by = told(two_of_three, cast.north_doctor, hub)
    assert [(by[name].share, by[name].samples) for name in ("North", "West")] == [(None, 300), (None, None)]
    assert (found.lost, found.own, found.withheld) == ((), False, True)
    page = see(cast.north_doctor, f"/rounds/{two_of_three.pk}/")
    assert "Nobody in it has any" not in page
    assert "is for administrators" in page


def test_the_missing_hospital_sees_its_own_scans(hub, cast, two_of_three):
    found, by = told(two_of_three, cast.south_doctor, hub)
    assert [(lost.missing, lost.of) for lost in found.lost] == [(1, None), (5, None), (0, None), (0, None)]
    assert (found.own, found.withheld) == (True, False)
    assert by["South"].said == "Late"
    assert "Your hospital's scans that are missing" in see(cast.south_doctor, f"/rounds/{two_of_three.pk}/")


def test_of_three_in_it_each_sees_its_own_share_and_no_others(hub, cast, two_of_three):
    first = Round.objects.get(number=1)
    _, by = told(first, cast.north_doctor, hub)
    assert [(by[name].share, by[name].samples) for name in ("North", "South", "West")] == [
        (0.6, 300),
        (None, None),
        (None, None),
    ]
    assert told(first, cast.reader, hub)[0].lost == ()


def test_a_refusal_is_told_to_its_hospital_and_late_to_the_others(hub, cast, clock, north, south, west):
    round_ = hub.open_round(north, south, west)
    north.put(round_.pk, north.seal(north.task(), b"nothing"))
    for seed, agent in enumerate((south, west)):
        agent.take_part(seed=seed)
    hub.work()
    clock.shift(hub.federation.grace)
    hub.tick()
    assert {
        name: told(round_, getattr(cast, name), hub)[1]["North"].presence
        for name in ("admin", "north_doctor", "south_doctor", "reader")
    } == {"admin": "REFUSED", "north_doctor": "REFUSED", "south_doctor": "LATE", "reader": "LATE"}
    assert hub.events(action="version.published")[-1]["facts"]["late"] == 1


def test_the_api_and_the_pages_tell_the_same(hub, cast, two_of_three):
    hub.federation.refresh_from_db()
    for person, own in ((cast.admin, 300), (cast.north_doctor, 300), (cast.south_doctor, None)):
        client = HubClient()
        client.force_login(person)
        newest, middle, seed = client.get("/api/v1/federations/brain-mri/versions").json()["versions"]
        assert seed["attendance"] is None
        inside = newest["attendance"]["inside"]
        assert (inside[0]["hospital"], inside[0]["samples"]) == ("North Clinic", own)
        assert [one["presence"] for one in newest["attendance"]["outside"]] == ["LATE"]
        assert len(middle["attendance"]["inside"]) == 3
        page = see(person, f"/models/{newest['id']}/")
        assert "Who is in it" in page
        assert ("75.0 %" in page) is (person == cast.admin)


def test_a_roll_back_shows_who_is_in_what_it_brought_back(hub, cast, two_of_three):
    hub.federation.refresh_from_db()
    old = hub.federation.versions.get(number=2)
    made, following = rollback.rollback(old, actor=cast.admin.actor, reason="test")
    hub.run(following)
    assert made_in(made).number == 1
    assert "Who is in it" in see(cast.admin, f"/models/{made.pk}/")
