"""The groups that carry the rights at a hospital: memberships fill them, and nothing else does."""

import re
from pathlib import Path

from django.contrib.auth.models import Permission
from guardian.models import GroupObjectPermission, UserObjectPermission
from guardian.shortcuts import remove_perm
from scene import Scene

from apps.accounts.models import Membership, User
from apps.accounts.pipeline import add_member, remove_member
from apps.federation.visibility import own_hospitals

ROOT = Path(__file__).resolve().parents[2]
WRITES = re.compile(
    r"groups\.(add|set|remove|clear)|user_set|user_permissions|(assign|remove)_perm\b"
    r"|Membership\.objects\.\w*(create|update)|Group\.objects\.\w*(create|update)"
)


def test_nothing_but_the_pipeline_of_the_accounts_writes_groups_and_memberships():
    sources = [path for folder in ("apps", "hospintel_site") for path in (ROOT / folder).rglob("*.py")]
    writing = {
        str(path.relative_to(ROOT))
        for path in sources
        if "migrations" not in path.parts and WRITES.search(path.read_text())
    }
    assert writing == {"apps/accounts/pipeline/people.py"}


def test_groups_and_memberships_say_the_same_and_no_person_has_a_right_of_their_own(scene: Scene):
    for hospital in scene.hospitals.values():
        members = set(Membership.objects.filter(hospital=hospital).values_list("user", flat=True))
        assert set(hospital.members_group.user_set.values_list("pk", flat=True)) == members
        given = GroupObjectPermission.objects.filter(object_pk=str(hospital.pk))
        assert [(right.group, right.permission.codename) for right in given] == [
            (hospital.members_group, "view_hospital")
        ]
    assert GroupObjectPermission.objects.count() == len(scene.hospitals)
    assert not UserObjectPermission.objects.exists()
    assert not User.objects.filter(user_permissions__isnull=False).exists()


def seen(scene: Scene, caller: str) -> set[str]:
    events = scene.client(caller).get("/api/v1/events").json()["events"]
    return {event["visibility"] for event in events}


def test_what_a_membership_gave_ends_with_the_next_request(scene: Scene):
    person, north = scene.people["north_doctor"], scene.hospitals["north"]
    assert seen(scene, "north_doctor") == {"everyone", north.visibility}
    remove_member(person, north, actor="system:test")
    assert seen(scene, "north_doctor") == {"everyone"}
    add_member(person, north, actor="system:test")
    assert seen(scene, "north_doctor") == {"everyone", north.visibility}


def test_half_a_membership_gives_nothing(scene: Scene):
    """A row without its place in the group, or the other way round: somebody wrote past the pipeline."""
    person, north = scene.people["north_doctor"], scene.hospitals["north"]
    person.groups.clear()
    assert own_hospitals(User.objects.get(pk=person.pk)) == set()
    add_member(person, north, actor="system:test")
    assert own_hospitals(User.objects.get(pk=person.pk)) == {north.pk}
    Membership.objects.filter(user=person).delete()
    assert own_hospitals(User.objects.get(pk=person.pk)) == set()
    assert seen(scene, "north_doctor") == {"everyone"}


def test_a_group_without_its_right_gives_nothing(scene: Scene):
    person, north = scene.people["north_doctor"], scene.hospitals["north"]
    remove_perm("accounts.view_hospital", north.members_group, north)
    assert own_hospitals(User.objects.get(pk=person.pk)) == set()
    # Nor does one that is given for all hospitals at once, past the groups.
    view = Permission.objects.get(codename="view_hospital")
    person.user_permissions.add(view)
    assert own_hospitals(User.objects.get(pk=person.pk)) == set()
