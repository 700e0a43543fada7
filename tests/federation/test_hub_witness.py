"""An agent that kept a checkpoint finds out that the hub's audit was cut off, rewritten or restored from a backup."""

import shutil

import pytest
from django.db import connection
from hub_client import HubClient
from hub_driver import assert_refused
from world import DATABASE, database_file

from apps.audit import guards
from apps.audit.models import AuditEntry, AuditHead
from apps.federation.models import HubKey
from apps.federation.pipeline import checkpoint, keys, runs
from hospintel_core.checkpoint import Note
from hospintel_site.backup import _snapshot


def show(agent, kept="", slug="brain-mri"):
    return agent.client.post_json(
        f"/api/v1/federations/{slug}/checkpoint", {"kept": kept and kept.to_line()}, headers=agent.headers
    )


def events(hub, times):
    """Let something happen."""
    for _ in range(times):
        hub.run(runs.abort(hub.start_run(), actor="user:1"))


@pytest.fixture
def kept(hub, tmp_path):
    """A checkpoint that was signed after the backup `older`."""
    events(hub, 1)
    checkpoint.sign()
    if connection.vendor == "sqlite":
        _snapshot(tmp_path / DATABASE, tmp_path / f"{DATABASE}.older")
    events(hub, 2)
    return checkpoint.sign()


@pytest.fixture
def older(kept, tmp_path):
    """The hub, restored from that backup."""
    if connection.vendor != "sqlite":
        pytest.skip("the hub's own backups are SQLite's")
    connection.close()
    restored = tmp_path / "restored" / DATABASE
    restored.parent.mkdir()
    shutil.copy(tmp_path / f"{DATABASE}.older", restored)
    with database_file(restored):
        yield


def test_an_agent_gets_the_newest_checkpoint_and_shows_it(hub, kept, north):
    answer = show(north)
    assert answer.json() == {"state": "holds", "newest": kept.to_line()}
    events(hub, 1)
    newest = checkpoint.sign()
    assert show(north, kept).json() == {"state": "holds", "newest": newest.to_line()}
    assert hub.events(action="audit.contradicted") == []


def test_no_checkpoint_is_no_answer_to_fear(hub, north):
    assert show(north).json() == {"state": "holds", "newest": ""}


def test_a_hub_restored_from_an_older_backup_is_told_so_once_by_each_agent(hub, kept, older, north, south):
    before = AuditHead.objects.get().seq
    for agent in (north, south, north):
        answer = show(agent, kept).json()
        assert (answer["state"], Note.from_line(answer["newest"]).seq < kept.seq) == ("audit_behind", True)
    found = hub.events(action="audit.contradicted")
    assert [event["actor"] for event in found] == [north.row.actor, south.row.actor]
    facts = found[0]["facts"]
    assert (facts["code"], facts["seq"], facts["end"]) == ("audit_behind", kept.seq, before)
    assert found[0]["visibility"] == "admin"


def test_a_restored_hub_that_went_on_since_contradicts_at_the_same_entry(hub, kept, older, north):
    events(hub, 6)
    assert AuditHead.objects.get().seq > kept.seq
    assert show(north, kept).json()["state"] == "audit_forked"
    assert hub.event(action="audit.contradicted")["facts"]["code"] == "audit_forked"


def test_an_audit_that_was_cut_off_is_found(hub, kept, north):
    guards.remove(connection)
    last = AuditEntry.objects.get(seq=kept.seq - 1)
    AuditEntry.objects.filter(seq__gt=last.seq).delete()
    AuditHead.objects.update(seq=last.seq, entry_hash=last.entry_hash)
    guards.install(connection)
    assert show(north, kept).json()["state"] == "audit_behind"


def test_administrators_are_shown_it_on_the_page_and_others_are_not(hub, cast, kept, older, north):
    show(north, kept)
    for person, sees in ((cast.admin, True), (cast.north_doctor, False)):
        client = HubClient()
        client.force_login(person)
        page = client.get("/audit/").content.decode()
        assert ("holds a signed checkpoint that this audit contradicts" in page) == sees
        assert ("North Clinic holds" in page.replace("The agent of ", "")) == sees


def test_what_is_no_checkpoint_or_not_this_hubs_is_refused_and_says_nothing_about_the_audit(hub, kept, north, own_keys):
    path = "/api/v1/federations/brain-mri/checkpoint"
    assert_refused(north.client.post_json(path, {"kept": "{}"}, headers=north.headers), 400, "bad_request")
    assert_refused(show(north, kept, slug="none"), 404, "federation_unknown")
    forged = Note.of(kept.body, bytes(64))
    assert_refused(show(north, forged), 422, "checkpoint_unknown")
    assert hub.events(action="audit.contradicted") == []


def test_what_an_earlier_identity_signed_still_counts(hub, kept, north, own_keys):
    keys.rotate(HubKey.Kind.IDENTITY, actor="user:1")
    assert show(north, kept).json()["state"] == "holds"
