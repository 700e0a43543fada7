"""`GET /api/v1/federations/<slug>/versions`: what a program needs to compare, decide and go back."""

from hub_client import HubClient
from proposing import changed_head, proposed
from site_agent import SLUG, report

from apps.federation.models import Federation, ModelVersion
from apps.federation.pipeline.review import publish_held, reject


def listed(user, **query):
    client = HubClient()
    client.force_login(user)
    answer = client.get(f"/api/v1/federations/{SLUG}/versions", query)
    assert answer.status_code == 200
    return answer.json()["versions"]


def test_all_versions_are_listed_with_where_they_come_from_and_what_is_current(hub, cast, north, south):
    hub.open_round(north, south)
    hub.finish_honestly(north, south)
    rejected = proposed(hub, cast.north_doctor)
    reject(rejected, actor=cast.admin.actor, reason="too few scans")
    held = proposed(hub, cast.north_doctor, note="our scanner", digest=changed_head(hub, 0.5))
    third, second, newest, first = found = listed(cast.admin)
    assert [one["id"] for one in (third, second)] == [str(held.pk), str(rejected.pk)]
    assert [(one["number"], one["state"], one["comes_from"], one["current"]) for one in found] == [
        (None, "HELD", "FINE_TUNE", False),
        (None, "REJECTED", "FINE_TUNE", False),
        (2, "PUBLISHED", "ROUND", True),
        (1, "PUBLISHED", "SEED", False),
    ]
    assert (third["made_from"], newest["made_from"], first["made_from"]) == (newest["id"], first["id"], None)
    assert (third["author"], third["note"], first["author"]) == ("north_doctor", "our scanner", "")
    assert second["verdict"].endswith("rejected by an admin: too few scans")
    assert {one["id"]: one["digest"] for one in found} == {
        str(pk): digest for pk, digest in ModelVersion.objects.values_list("pk", "digest")
    }
    assert listed(cast.admin, skip=3) == [first]
    assert listed(cast.admin, skip=10**17) == []


def test_what_a_job_measured_is_for_its_author_and_for_admins(hub, cast):
    measured = {"held_out": {"before": report(7).to_dict(), "after": report(9).to_dict()}}
    proposed(hub, cast.north_doctor, report=measured)
    for reader in (cast.admin, cast.north_doctor):
        ((part,), *_) = [one["measured"] for one in listed(reader)]
        assert part["name"] == "scans that the job held out"
        assert (part["lines"][0]["before"]["right"], part["lines"][0]["after"]["right"]) == (7, 9)
    assert listed(cast.south_doctor)[0]["measured"] == []
    assert listed(cast.south_doctor)[0]["author"] == "A doctor"


def test_what_fewer_than_three_hospitals_measured_is_for_administrators(hub, cast, north, south):
    hub.open_round(north, south)
    hub.finish_honestly(north, south)
    first = {name: listed(user)[-1] for name, user in {"admin": cast.admin, "north": cast.north_doctor}.items()}
    assert first["admin"]["scans"] > first["north"]["scans"] > 0, "a hospital sees its own"


def test_going_back_by_the_listed_id(hub, cast):
    publish_held(proposed(hub, cast.north_doctor), actor=cast.admin.actor)
    (old,) = [one for one in listed(cast.admin) if one["number"] == 1]
    client = HubClient()
    client.force_login(cast.admin)
    assert client.post_json(f"/api/v1/models/{old['id']}/rollback", {}).json()["number"] == 3
    assert Federation.objects.get(pk=SLUG).current.digest == old["digest"]
    assert [one["number"] for one in listed(cast.admin) if one["current"]] == [3]
