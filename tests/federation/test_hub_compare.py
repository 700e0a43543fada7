"""A version's own page, and two versions beside each other: what they say, and to whom."""

import uuid

import pytest
from looking import BROWSER, browser, see
from proposing import proposed
from site_agent import SiteAgent, report
from validating import ready_set
from world import enrol_agent

from apps.accounts.pipeline import create_hospital
from apps.federation.comparison import compare, compare_on_hub
from apps.federation.models import Evaluation, ModelVersion
from apps.federation.pipeline import enrol
from apps.federation.pipeline.validate import judge
from apps.federation.standing import standing
from apps.federation.visibility import own_hospitals

# South reports six of ten right where North reports nine.
FIGURES = "75.0 % (53.1 % to 88.8 %)"


def version(number):
    return ModelVersion.objects.get(number=number)


def address(first, second):
    return f"/models/compare/?a={first.pk}&b={second.pk}"


def measure(version, agent, right, scale=1):
    """What an agent says that it found on a version."""
    found = report(right)
    Evaluation.objects.create(
        version=version,
        agent_id=agent.credentials.agent_id,
        round=version.round or version.children.filter(round__isnull=False).first().round,
        kind="EVALUATE" if version.round else "TRAIN",
        confusion=[[scale * count for count in row] for row in found.confusion],
        n=scale * found.n,
        correct=scale * found.correct,
        loss_micro=scale * found.loss_micro,
    )


@pytest.fixture
def two(hub, north, south):
    """Version 1, and version 2 that a round made of it; nobody has measured either yet."""
    hub.open_round(north, south)
    hub.finish_honestly(north, south)
    Evaluation.objects.all().delete()
    return version(1), version(2)


@pytest.fixture
def third(hub):
    """The agent of a third hospital in the federation."""
    hospital = create_hospital("West Clinic", actor="system:test")
    enrol.join(hub.federation, hospital, actor="system:test")
    return SiteAgent(enrol_agent(hospital))


def test_a_versions_page_tells_what_it_is_and_what_was_measured(two, cast, north, south):
    measure(two[1], north, 9)
    measure(two[1], south, 6)
    page = see(cast.admin, f"/models/{two[1].pk}/")
    assert "Version 2 is the current model." in page
    assert "round 1 , made from version 1" in page
    assert "North Clinic, South Clinic" in page
    assert "1 epoch, batches of" in page or "epochs, batches of" in page
    assert two[1].digest in page
    assert "75.0 % accuracy, between 53.1 % and 88.8 %" in page
    old = see(cast.admin, f"/models/{two[0].pk}/")
    assert "Version 1 was current until version 2 replaced it." in old
    assert "Not measured yet" in old


def test_a_version_has_figures_by_class_though_it_is_not_the_newest(two, cast, north):
    measure(two[0], north, 9)
    page = see(cast.admin, f"/models/{two[0].pk}/")
    assert "Of 10 validation scans of 1 agent." in page
    # 9 of 10 found, and each that was named so was right: Wilson's intervals of both.
    assert "Glioma 10 0.900 0.596 to 0.982 1.000 0.701 to 1.000" in page
    assert "By class" not in see(cast.reader, f"/models/{two[0].pk}/")


def test_two_versions_are_compared_on_what_the_same_agents_measured(two, cast, north, south):
    first, second = two
    measure(first, north, 6)
    measure(second, north, 9)
    # South measured the second one alone: it says nothing about the difference.
    measure(second, south, 1)
    found = compare(first, second, None)
    assert (found.first.n, found.second.n, found.same, found.alike) == (10, 10, True, True)
    assert found.accuracy.change == pytest.approx(0.3)
    # By hand: 0.3 - sqrt((0.9 - 0.5958)^2 + (0.8318 - 0.6)^2), 0.3 + sqrt((0.9821 - 0.9)^2 + (0.6 - 0.3127)^2).
    assert (found.accuracy.low, found.accuracy.high) == pytest.approx((-0.0825, 0.5988), abs=2e-4)
    page = see(cast.admin, address(first, second))
    assert "Version 2 is not clearly better or worse than version 1: 90.0 % against 60.0 %." in page
    assert "+30.0 (\N{MINUS SIGN}8.2 to +59.9)" in page
    assert "Measured by the same 1 agent" in page


def test_a_clear_difference_is_said_and_the_class_that_lost(two, cast, north):
    measure(two[0], north, 9, scale=20)
    measure(two[1], north, 6, scale=20)
    page = see(cast.admin, address(*two))
    assert "Version 2 is less accurate than version 1: 60.0 % against 90.0 %." in page
    assert "Finds clearly less of:" in page
    assert "Version 1 is more accurate than version 2: 90.0 % against 60.0 %." in see(cast.admin, address(*two[::-1]))


def test_figures_of_different_agents_have_no_difference(two, cast, north, south):
    measure(two[0], north, 9)
    measure(two[1], south, 6)
    page = see(cast.admin, address(*two))
    assert "Version 2 and version 1 were measured by different agents." in page
    assert "Different scans" in page
    assert "Difference in points" not in page


def test_fewer_than_three_hospitals_are_for_administrators_and_each_sees_its_own(two, cast, north, south):
    for one in two:
        measure(one, north, 9)
        measure(one, south, 6)
    assert FIGURES in see(cast.admin, address(*two))
    for reader, own in ((cast.north_doctor, "90.0 % ("), (cast.south_doctor, "60.0 % (")):
        page = see(reader, address(*two))
        assert FIGURES not in page
        assert own in page
        assert "Measured on your hospital's validation scans" in page
    page = see(cast.reader, address(*two))
    assert "Version 2 has no figures to compare." in page
    assert "%" not in page.partition("Version 2 has no figures")[2].partition("Recall:")[0]


def test_what_three_hospitals_measured_is_everybodys(two, cast, north, south, third):
    for one in two:
        for agent in (north, south, third):
            measure(one, agent, 9)
    page = see(cast.reader, address(*two))
    assert "Measured by the same 3 agents" in page
    assert "Version 2 is as accurate as version 1: 90.0 %." in page


def test_nobody_learns_another_hospitals_figures_from_two_sums(two, cast, north, south, third, enrolled):
    """Of four hospitals three measured both: the sum over these, taken off the sum over all, is the fourth's."""
    fourth = create_hospital("East Clinic", actor="system:test")
    east = enrolled(fourth)
    for agent, right in ((north, 9), (south, 6), (third, 5)):
        measure(two[0], agent, right)
        measure(two[1], agent, right)
    measure(two[1], east, 1)
    assert compare(*two, None).second.n == 30
    found = compare(*two, own_hospitals(cast.north_doctor))
    assert (found.own, found.second.n, found.second.accuracy) == (True, 10, 0.9)
    found = compare(*two, own_hospitals(cast.reader))
    # Each is shown as on its own page, and nothing between them.
    assert (found.same, found.first.n, found.second.n) == (False, 30, 40)
    assert all(line.gap is None for line in found.lines)


def test_a_held_version_leads_to_its_comparison_with_the_current_one(two, hub, cast):
    job = {"held_out": {"before": report(7).to_dict(), "after": report(9).to_dict()}}
    held = proposed(hub, cast.north_doctor, note="our scanner", report=job)
    body = browser(cast.admin).get("/models/", headers=BROWSER).content.decode()
    assert f"/models/compare/?a={two[1].pk}&amp;b={held.pk}" in body
    page = see(cast.admin, address(two[1], held))
    for words in ("our scanner", "fine-tune", "north_doctor", "In review", "made from version 2"):
        assert words in page, words
    # What the job measured is its hospital's: for who decides, and for its author.
    for reader, may_see in ((cast.admin, True), (cast.north_doctor, True), (cast.south_doctor, False)):
        for page in (see(reader, address(two[1], held)), see(reader, f"/models/{held.pk}/")):
            assert f"Proposal {held.digest[:8]}" in page
            assert ("9 of 10 (59.6 % to 98.2 %)" in page) == may_see


def test_the_form_on_the_models_page_leads_to_the_comparison(two, cast):
    body = browser(cast.reader).get("/models/", headers=BROWSER).content.decode()
    form = body.partition('action="/models/compare/"')[2].partition("</form>")[0]
    assert f'<option value="{two[0].pk}" selected>Version 1 (start)</option>' in form.partition('name="b"')[0]
    assert f'<option value="{two[1].pk}" selected>Version 2 (round 1, current)</option>' in form


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "Which two versions?"),
        ("?a=1&b=2", "There is no such version."),
        (f"?a={uuid.UUID(int=1)}&b={uuid.UUID(int=2)}", "There is no such version."),
        ("?a=%00&b=", "Choose a version."),
        ("?a={one}&b={one}", "Choose two different versions."),
        ("?a={one}", "Choose a version."),
    ],
)
def test_what_cannot_be_compared_is_said_beside_the_field(two, cast, query, said):
    assert said in see(cast.reader, "/models/compare/" + query.format(one=two[0].pk))


def test_there_is_no_page_of_a_version_that_is_not_there(two, cast):
    assert browser(cast.admin).get(f"/models/{uuid.UUID(int=1)}/", headers=BROWSER).status_code == 404


def test_on_the_hubs_validation_set_both_read_the_same_scans(two, hub, cast, north, south):
    """What agents measured tells little here: the hub's own figures come first, and are everybody's."""
    found = ready_set(hub, cast.admin)
    measure(two[0], north, 9)
    measure(two[1], south, 6)
    judge(two[1])
    reports = {row.version_id: row for row in found.reports.all()}
    assert set(reports) == {one.pk for one in two}
    right = [[90, 0, 0, 0], [0, 90, 0, 0], [0, 0, 90, 0], [0, 0, 0, 90]]
    lost = [[30, 60, 0, 0], *right[1:]]
    for version, rows in zip(two, (right, lost), strict=True):
        correct = sum(row[place] for place, row in enumerate(rows))
        found.reports.filter(version=version).update(confusion=rows, n=360, correct=correct, loss_micro=1)
    for reader in (cast.admin, cast.reader):
        page = see(reader, address(*two))
        assert "Version 2 is less accurate than version 1: 83.3 % against 100.0 %." in page
        assert "On the 360 scans of the hub's validation set, the same for both. Finds clearly less of: Glioma." in page
    hub.federation.refresh_from_db()
    advice = standing(hub.federation, own_hospitals(cast.reader))
    assert (advice.kind, advice.short) == ("bad", "Going back is advised")
    # Of a set on which one of them alone was measured, nothing is made.
    found.reports.filter(version=two[0]).delete()
    assert compare_on_hub(*two) is None
    assert "were measured by different agents" in see(cast.admin, address(*two))


def test_the_call_tells_what_the_page_does(hub, cast, two, north, south):
    for one, right in zip(two, (6, 9), strict=True):
        measure(one, north, right)
        measure(one, south, 6)
    client = browser(cast.admin)
    path = f"/api/v1/federations/brain-mri/versions/{two[0].pk}/compare/{two[1].pk}"
    told = client.get(path).json()
    found = compare(*two, None)
    assert " ".join(told["finding"].split()) in see(cast.admin, address(*two))
    by_agents = told["by_agents"]
    assert (by_agents["same"], by_agents["first"]["agents"], by_agents["second"]["scans"]) == (True, 2, 20)
    assert by_agents["second"]["accuracy"] == found.second.accuracy == 0.75
    assert [line["name"] for line in by_agents["lines"]] == [line.name for line in found.lines]
    gap = by_agents["lines"][0]["gap"]
    assert (gap["change"], gap["low"], gap["high"]) == (found.accuracy.change, found.accuracy.low, found.accuracy.high)
    assert told["on_hub"] is None
    # As on the page, a hospital sees its own of what fewer than three measured.
    own = browser(cast.north_doctor).get(path).json()["by_agents"]
    assert (own["own"], own["second"]["scans"], own["second"]["accuracy"]) == (True, 10, 0.9)
    ready_set(hub, cast.admin)
    for one in two:
        judge(one)
    on_hub = client.get(path).json()["on_hub"]
    assert sum(map(sum, on_hub["first"]["confusion"])) == on_hub["second"]["scans"] == compare_on_hub(*two).second.n
