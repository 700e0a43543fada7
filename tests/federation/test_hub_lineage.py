"""The drawing of versions: what stands where, with one, ten and two hundred of them, and what a reader is told."""

import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from looking import BROWSER, LIVE, browser, see
from proposing import changed_head, proposed
from test_hub_compare import measure

from apps.federation import lineage
from apps.federation.models import Evaluation, Federation, ModelVersion
from apps.federation.pipeline import publish, review
from apps.federation.pipeline.rollback import rollback
from apps.federation.standing import standing


def grow(federation, count):
    """So many versions, each made from the one before."""
    for number in range(2, count + 1):
        publish.publish(
            ModelVersion.objects.create(
                federation=federation,
                digest=f"{number:064x}",
                source="UPLOAD",
                parent=ModelVersion.objects.get(number=number - 1),
                state="HELD",
            ),
            actor="system:test",
            verdict="uploaded",
        )
    federation.refresh_from_db()


def drawn(federation, first=0, count=1000):
    federation = Federation.objects.get(pk=federation.pk)
    return lineage.draw(federation, lineage.newest(federation, first, count), None)


def lanes(drawing):
    return {node.name: (node.x - lineage.LANE // 2) // lineage.LANE for node in drawing.nodes}


def ends(path):
    """Where a path begins and ends."""
    numbers = [float(number) for number in re.findall(r"-?\d+\.?\d*", path)]
    letters = re.findall(r"[A-Za-z]", path)
    end = (numbers[0], numbers[2]) if letters == ["M", "V"] else (numbers[-2], numbers[-1])
    return (numbers[0], numbers[1]), end


def test_one_version_is_a_picture_too(hub, cast):
    drawing = drawn(hub.federation)
    assert [node.name for node in drawing.nodes] == ["Version 1"]
    assert (drawing.lines, drawing.trunk, drawing.cut, drawing.lanes) == ((), (), (), 1)
    page = see(cast.reader, "/models/lineage/")
    assert "There is one version, and it is current." in page
    assert "Version 1 Current" in page


def test_what_is_current_stands_on_the_left_and_what_was_left_behind_beside_it(hub, cast):
    digest = changed_head(hub)
    grow(hub.federation, 4)
    rollback(ModelVersion.objects.get(number=2), actor="system:test", reason="worse on glioma")
    waiting = proposed(hub, cast.north_doctor, parent=ModelVersion.objects.get(number=4), digest=digest)
    drawing = drawn(hub.federation)
    assert [node.name for node in drawing.nodes][1:] == [f"Version {n}" for n in (5, 4, 3, 2, 1)]
    name = f"Proposal {waiting.digest[:8]}"
    assert lanes(drawing) == {name: 1, "Version 5": 0, "Version 4": 1, "Version 3": 1, "Version 2": 0, "Version 1": 0}
    said = {node.name: node.state for node in drawing.nodes}
    assert (said["Version 5"], said["Version 4"], said["Version 2"]) == ("Current", "Left behind", "Published")
    assert said[name] == "In review"
    # Each version is joined to the one that it was made from, and to no other.
    at = {(node.x, node.y): node.version for node in drawing.nodes}
    joined = {(at[start].pk, at[end].pk) for start, end in map(ends, (*drawing.lines, *drawing.trunk))}
    assert joined == {(one.pk, one.parent_id) for one in ModelVersion.objects.exclude(parent=None)}
    assert "Beside it: Proposal" in drawing.said


def test_the_reason_of_a_roll_back_stands_in_the_drawing_and_on_its_page(hub, cast):
    grow(hub.federation, 3)
    again, _ = rollback(ModelVersion.objects.get(number=1), actor=cast.admin.actor, reason="worse on glioma")
    for address in ("/models/", "/models/lineage/", f"/models/{again.pk}/"):
        assert "rolled back to version 1: worse on glioma" in see(cast.reader, address)


def test_two_hundred_versions_are_shown_a_page_at_a_time_each_once_and_none_forgotten(hub, cast):
    grow(hub.federation, 200)
    # Brought back again and again from far away: more lines than there is room for.
    for number in range(5, 105, 10):
        rollback(ModelVersion.objects.get(number=number), actor="system:test")
    client, found = browser(cast.reader), []
    for page in range(1, 7):
        body = client.get(f"/models/lineage/?page={page}", headers=BROWSER).content.decode()
        found += re.findall(r'id="node-([0-9a-f-]+)"', body)
        assert len(body) < 100_000
        assert ("Older" in body, "Newer" in body) == (page < 6, page > 1)
    assert len(found) == len(set(found)) == 210
    drawing = drawn(hub.federation)
    assert drawing.lanes <= lineage.MOST_LANES + 1
    assert all(0 < node.x < drawing.width and 0 < node.y < drawing.height for node in drawing.nodes)
    # On the models page only the newest are drawn.
    page = client.get("/models/", headers=BROWSER).content.decode()
    assert page.count('id="node-') == 8
    assert "/models/lineage/" in page


def test_what_goes_on_on_another_page_is_cut_and_not_forgotten(hub):
    grow(hub.federation, 6)
    drawing = drawn(hub.federation, first=2, count=2)
    assert [node.name for node in drawing.nodes] == ["Version 4", "Version 3"]
    # Up to version 5, down to version 2.
    assert len(drawing.cut) == 2
    assert len(drawing.trunk) == 1


def test_a_rejected_version_is_crossed_out_and_says_why(hub, cast):
    version = proposed(hub, cast.north_doctor)
    review.reject(version, actor=cast.admin.actor, reason="from one scanner alone")
    body = browser(cast.reader).get("/models/lineage/", headers=BROWSER).content.decode()
    assert 'class="cross"' in body
    assert "rejected by an admin: from one scanner alone" in body


def test_the_picture_has_words_and_each_row_leads_to_its_version(hub, cast):
    grow(hub.federation, 3)
    body = browser(cast.reader).get("/models/lineage/", headers=BROWSER).content.decode()
    assert 'role="img" aria-labelledby="lineage-title lineage-said"' in body
    line = "The line of the current version, the newest first: Version 3, Version 2, Version 1."
    assert f'<desc id="lineage-said">{line}</desc>' in body
    for version in ModelVersion.objects.all():
        assert f'href="/models/{version.pk}/"' in body


def test_figures_of_fewer_than_three_hospitals_are_not_in_the_drawing(hub, cast, north, south):
    hub.open_round(north, south)
    hub.finish_honestly(north, south)
    Evaluation.objects.all().delete()
    for agent, right in ((north, 9), (south, 6)):
        measure(ModelVersion.objects.get(number=2), agent, right)
    assert "75.0 % of 20 scans" in see(cast.admin, "/models/lineage/")
    assert "90.0 % of 10 scans of your hospital" in see(cast.north_doctor, "/models/lineage/")
    assert "% of" not in see(cast.reader, "/models/lineage/")


def test_the_pages_ask_the_database_as_often_for_many_versions_as_for_few(hub, cast):
    client = browser(cast.north_doctor)
    counts = []
    for versions in (4, 24):
        grow(hub.federation, versions) if versions == 4 else _more(hub.federation, 4, versions)
        with CaptureQueriesContext(connection) as asked:
            for address in ("/models/lineage/", "/models/"):
                assert client.get(address, headers=LIVE).status_code == 200
        counts.append(len(asked))
    assert counts[0] == counts[1]


def _more(federation, since, count):
    now = timezone.now()
    for number in range(since + 1, count + 1):
        ModelVersion.objects.create(
            federation=federation,
            number=number,
            digest=f"{number:064x}",
            source="UPLOAD",
            state="PUBLISHED",
            parent=ModelVersion.objects.get(number=number - 1),
            published_at=now,
        )


# --- Where it stands --------------------------------------------------------------------------------------------------


@pytest.fixture
def two(hub, north, south):
    hub.open_round(north, south)
    hub.finish_honestly(north, south)
    Evaluation.objects.all().delete()
    hub.federation.refresh_from_db()
    return ModelVersion.objects.get(number=1), ModelVersion.objects.get(number=2)


def test_the_first_version_has_nothing_before_it(hub, cast):
    page = see(cast.admin, "/models/")
    assert "Nothing to go back to" in page
    assert "Before it none" in page
    assert "Go back to version" not in page


@pytest.mark.parametrize(
    ("before", "after", "short", "said"),
    [
        (9, 6, "Going back is advised", "Version 2 is less accurate than version 1: 60.0 % against 90.0 %."),
        (6, 9, "No need to go back", "Version 2 is more accurate than version 1: 90.0 % against 60.0 %."),
        (9, 9, "No need to go back", "Version 2 is as accurate as version 1: 90.0 %."),
    ],
)
def test_one_sentence_says_whether_what_was_measured_speaks_for_going_back(
    hub, cast, two, north, before, after, short, said
):
    for version, right in zip(two, (before, after), strict=True):
        measure(version, north, right, scale=20)
    found = standing(hub.federation, None)
    assert (found.short, found.advice.partition(" It finds")[0].replace("\N{NO-BREAK SPACE}", " ")) == (short, said)
    page = see(cast.admin, "/models/")
    assert said in page
    assert "Go back to version 1" in page
    assert said not in see(cast.reader, "/models/")


def test_a_class_that_is_lost_is_said_though_the_whole_is_as_good(hub, cast, two, north):
    for version, rows in zip(two, ([[30, 0], [30, 30]], [[12, 18], [12, 48]]), strict=True):
        counts = [[*row, 0, 0] for row in rows] + [[0] * 4] * 2
        measure(version, north, 9)
        Evaluation.objects.filter(version=version).update(
            confusion=counts, n=90, correct=counts[0][0] + counts[1][1], loss_micro=1
        )
    found = standing(hub.federation, None)
    assert (found.kind, found.short) == ("warn", "Look before you decide")
    assert "is as accurate as" in found.advice
    assert "It finds clearly less of: glioma." in found.advice


def test_an_alarm_says_go_back_and_its_figures_are_for_administrators(hub, cast, two):
    ModelVersion.objects.filter(pk=two[1].pk).update(alarm="accuracy 0.5, its parent had 0.9")
    said = "The agents measured version 2 as worse than its parent"
    assert f"{said}: accuracy 0.5, its parent had 0.9." in see(cast.admin, "/models/")
    assert f"{said}." in see(cast.reader, "/models/")


def test_after_a_roll_back_what_was_measured_before_counts(hub, cast, two, north):
    for version, right in zip(two, (9, 6), strict=True):
        measure(version, north, right, scale=20)
    again, _ = rollback(two[0], actor=cast.admin.actor)
    hub.federation.refresh_from_db()
    found = standing(hub.federation, None)
    assert found.short == "No need to go back"
    assert found.advice.startswith("Version 3 is version 1 again. Version 3 is more accurate than version 2:")
    assert "measured as version 1: the same head" in see(cast.admin, f"/models/{again.pk}/")
