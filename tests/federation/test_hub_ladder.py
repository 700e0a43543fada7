"""What pages are made of: each hospital's place in a round, events as sentences, charts as coordinates."""

import pytest

from apps.accounts.pipeline import create_hospital
from apps.federation import queries
from apps.federation.charts import NARROW, line_chart
from apps.federation.ladder import places
from apps.federation.models import Agent, EnrolmentCode, HubKey, ModelVersion, Round, Run, Update
from apps.federation.pipeline import revoke
from apps.federation.templatetags.amounts import PER_CENT
from apps.federation.visibility import own_hospitals
from apps.federation.words import EVENTS, sentence

# --- The ladder -------------------------------------------------------------------------------------------------------


def ladder(hub, person, name):
    """What one hospital's place says: in words, and rung by rung."""
    place = next(
        place
        for place in places(hub.federation, queries.newest_round(hub.federation), own_hospitals(person))
        if place.hospital == name
    )
    return place.said, " ".join(rung.state for rung in place.rungs)


def test_a_hospital_climbs_from_registered_to_in_the_new_version(hub, cast, north, south):
    seen = [ladder(hub, cast.reader, "North Clinic")]
    north.poll()
    seen.append(ladder(hub, cast.reader, "North Clinic"))
    round_ = hub.open_round(north, south)
    seen.append(ladder(hub, cast.reader, "North Clinic"))
    north.take_part()
    seen.append(ladder(hub, cast.reader, "North Clinic"))
    hub.work()
    seen.append(ladder(hub, cast.reader, "North Clinic"))
    hub.finish_honestly(south)
    seen.append(ladder(hub, cast.reader, "North Clinic"))
    assert round_.updates.count() == 2
    assert seen == [
        ("Has not called yet", "done ahead ahead ahead"),
        ("Connected, waits for the next round", "done done ahead ahead"),
        ("Training", "done done now ahead"),
        ("Returned, being checked", "done done done done"),
        ("Returned and accepted", "done done done done"),
        ("In the new version", "done done done done"),
    ]


def test_an_agent_that_falls_silent_is_offline(hub, cast, north, clock):
    north.poll()
    clock.shift(hub.federation.seen_within + 1)
    assert ladder(hub, cast.reader, "North Clinic") == ("Offline", "done ahead ahead ahead")


def test_a_refusal_is_told_to_its_hospital_and_what_counts_wins_over_it(hub, cast, north, south):
    round_ = hub.open_round(north, south)
    north.put(round_.pk, north.seal(north.task(), b"nothing"))
    hub.work()
    assert ladder(hub, cast.north_doctor, "North Clinic") == ("Refused", "done done done failed")
    assert ladder(hub, cast.south_doctor, "North Clinic") == ("Training", "done done now ahead")
    north.take_part()
    hub.work()
    for person in (cast.admin, cast.north_doctor, cast.south_doctor):
        assert ladder(hub, person, "North Clinic") == ("Returned and accepted", "done done done done")


def test_a_revoked_agent_is_shown_until_its_hospital_has_another(hub, cast, north, enrolled):
    revoke.revoke(Agent.objects.get(hospital=cast.north), actor="system:test")
    assert ladder(hub, cast.reader, "North Clinic") == ("Revoked", "failed ahead ahead ahead")
    enrolled(cast.north)
    assert ladder(hub, cast.reader, "North Clinic") == ("Has not called yet", "done ahead ahead ahead")


def test_a_hospital_without_an_agent_has_its_place_too(hub, cast):
    hub.federation.participations.create(hospital=create_hospital("West Clinic", actor="system:test"))
    assert ladder(hub, cast.reader, "West Clinic") == ("No agent is enrolled yet", "ahead ahead ahead ahead")


# --- Words ------------------------------------------------------------------------------------------------------------


def test_every_state_that_something_comes_into_has_its_sentence():
    for model in (Agent, EnrolmentCode, HubKey, ModelVersion, Round, Run, Update):
        name = getattr(model, "AUDIT_NAME", model._meta.model_name)
        for to in frozenset().union(*model.TRANSITIONS.values()):
            assert f"{name}.{to.lower()}" in EVENTS


def test_what_a_role_does_not_allow_is_told_as_such():
    facts = {"code": "permission_denied", "needs": "steer_runs"}
    assert sentence("POST run-start", facts, "denied") == "was refused starting a run: the role does not allow it"


def test_what_was_refused_is_not_told_as_done():
    told = sentence("PUT round-update", {"code": "clock_skew"}, "denied")
    assert told == "was refused sending an update: clock_skew"
    told = sentence("person.password", {"code": "password_wrong"}, "denied")
    assert told == "gave a wrong present password, and changed nothing"
    assert sentence("admin.user.change", {}) == "changed user in Django admin"
    assert sentence("code.expired", {"withdrawn": True}) == "withdrew an enrolment code"
    assert sentence("code.expired", {}) == "let an enrolment code expire"


@pytest.mark.parametrize(
    ("action", "doing"),
    [
        ("GET admin:accounts_user_changelist", "looking at the records"),
        ("POST admin:accounts_user_change", "changing the records"),
        ("GET accounts:people", "looking at the people"),
        ("OTHER ?", "a call (OTHER ?)"),
    ],
)
def test_every_refused_call_is_told_as_a_phrase(action, doing):
    assert sentence(action, {"code": "permission_denied"}, "denied") == (
        f"was refused {doing}: the role does not allow it"
    )


def test_whose_update_it_was_is_told_where_it_is_known():
    assert sentence("update.accepted", {}) == "accepted an update"
    assert sentence("update.accepted", {"hospital": "North Clinic"}) == "accepted an update of North Clinic"


# --- Charts -----------------------------------------------------------------------------------------------------------


def test_a_chart_says_its_finding_and_stays_inside_its_frame():
    points = [("1", 0.31), ("2", 0.5), ("3", 0.62)]
    for width in (560, NARROW):
        chart = line_chart("Accuracy", points, percent=True, width=width)
        assert chart.said == f"Accuracy rose from 31.0{PER_CENT} to 62.0{PER_CENT} from version 1 to version 3."
        assert all(chart.left <= mark.x <= chart.right and 0 <= mark.y <= chart.height for mark in chart.marks)
        assert (chart.rows[0].text, chart.rows[-1].text) == (f"30{PER_CENT}", f"70{PER_CENT}")
    assert line_chart("Loss", [("1", 0.5), ("2", 0.5)]).said == "Loss stayed at 0.50 from version 1 to version 2."
    assert line_chart("Loss", [("1", 0.5)]) is None


def test_no_two_grid_lines_have_the_same_label():
    for values, percent in (([0.3421, 0.3422], True), ([1.351, 1.352], False), ([0.5, 0.5], True)):
        chart = line_chart("Accuracy", [(str(n), value) for n, value in enumerate(values)], percent=percent)
        labels = [row.text for row in chart.rows]
        assert len(set(labels)) == len(labels) >= 2
        assert all(0 <= mark.y <= chart.height for mark in chart.marks)


def test_many_versions_leave_room_between_their_labels():
    points = [(str(n), n / 200) for n in range(100)]
    for width, most in ((560, 10), (NARROW, 6)):
        assert len(line_chart("Accuracy", points, width=width).columns) <= most
